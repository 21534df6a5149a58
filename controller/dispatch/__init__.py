"""From an instant to a run, and from its end to what follows: the stages between the store and the executors.

`cycle` is the story (finish, fire, judge, open: one transaction), `fire`, `judge` and `finish` its chapters; `launch` turns an open run into a
request for an executor; `requests` are the verbs of people; `sweep` looks at what time alone changes; `recover` resolves orphans.
"""
