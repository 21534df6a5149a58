"""The graph of triggers: a job points at its parents. Missing parents are no nodes.

`check` asks. Invariant: every walk visits a job at most once, and no walk recurses, so that long chains and hostile ones cost what they are
large.
"""

from collections.abc import Collection, Iterable, Iterator

from controller.reconcile.desired import View
from controller.reconcile.records import JOB, Key


def parents(view: View, key: Key) -> Iterator[Key]:
    """The parents of a job that exist."""
    entry = view.get(key)
    if entry is not None:
        for name in entry.facts.parents:
            parent = Key(JOB, key.namespace, name)
            if view.get(parent) is not None:
                yield parent


def children(view: View, key: Key) -> Iterator[Key]:
    """The jobs that have this one as a parent."""
    for user in view.users(key):
        entry = view.get(user)
        if entry is not None and key.name in entry.facts.parents:
            yield user


def cycles(view: View, start: Iterable[Key]) -> list[frozenset[Key]]:
    """The strongly connected sets of more than one job (or of one that is its own parent) above `start`. Source: Tarjan 1972."""
    order: dict[Key, int] = {}
    low: dict[Key, int] = {}
    stack: list[Key] = []
    on_stack: set[Key] = set()
    found: list[frozenset[Key]] = []

    def enter(key: Key) -> tuple[Key, Iterator[Key]]:
        order[key] = low[key] = len(order)
        stack.append(key)
        on_stack.add(key)
        return key, parents(view, key)

    for root in start:
        if root in order:
            continue
        walk = [enter(root)]
        while walk:
            key, rest = walk[-1]
            following = next(rest, None)
            if following is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[key])
                if low[key] == order[key]:
                    circle = _pop(stack, on_stack, key)
                    if len(circle) > 1 or key in parents(view, key):
                        found.append(circle)
            elif following not in order:
                walk.append(enter(following))
            elif following in on_stack:
                low[key] = min(low[key], order[following])
    return found


def _pop(stack: list[Key], on_stack: set[Key], until: Key) -> frozenset[Key]:
    members: list[Key] = []
    while not members or members[-1] != until:
        members.append(stack.pop())
        on_stack.discard(members[-1])
    return frozenset(members)


def path_back(view: View, key: Key, circle: Collection[Key]) -> list[Key]:
    """A shortest way from a job back to itself inside a circle, in the order in which the jobs would run; begins and ends with it."""
    came: dict[Key, Key] = {}
    queue = [key]
    for one in queue:
        for parent in parents(view, one):
            if parent == key:
                path = [key, one]
                while path[-1] != key:
                    path.append(came[path[-1]])
                return path
            if parent in circle and parent not in came:
                came[parent] = one
                queue.append(parent)
    return [key]


def depths(view: View, keys: Iterable[Key]) -> dict[Key, int]:
    """How many triggers lie between each job and the farthest root above it; also of all jobs on the way."""
    found: dict[Key, int] = {}
    entered: set[Key] = set()
    for start in keys:
        stack = [start]
        while stack:
            key = stack[-1]
            entered.add(key)
            above = list(parents(view, key))
            # Entered but not found is on the way down to here: a circle that somebody else let in must not hang us.
            pending = [parent for parent in above if parent not in found and parent not in entered]
            if pending:
                stack.extend(pending)
                continue
            found[key] = 1 + max((found.get(parent, 0) for parent in above), default=-1)
            stack.pop()
    return found


def heights(view: View, keys: Iterable[Key], without: Collection[Key]) -> dict[Key, tuple[int, Key]]:
    """How many triggers lie between each job and the farthest one below it, and which that is, not going through `without`."""
    found: dict[Key, tuple[int, Key]] = {}
    entered: set[Key] = set()
    for start in keys:
        stack = [start]
        while stack:
            key = stack[-1]
            entered.add(key)
            below = [child for child in children(view, key) if child not in without]
            pending = [child for child in below if child not in found and child not in entered]
            if pending:
                stack.extend(pending)
                continue
            lower = [found[child] for child in below if child in found]
            found[key] = max(((height + 1, deepest) for height, deepest in lower), default=(0, key))
            stack.pop()
    return found


def ancestors(view: View, key: Key) -> tuple[set[Key], bool]:
    """All jobs above one, and whether every parent on the way exists."""
    found: set[Key] = set()
    whole = True
    queue = [key]
    for one in queue:
        entry = view.get(one)
        named = {Key(JOB, key.namespace, name) for name in entry.facts.parents} if entry is not None else set()
        there = set(parents(view, one))
        whole &= named == there
        queue.extend(there - found - {key})
        found |= there
    return found, whole


def descendants(view: View, keys: Iterable[Key]) -> set[Key]:
    """All jobs below these."""
    found: set[Key] = set()
    queue = list(keys)
    for key in queue:
        for child in children(view, key):
            if child not in found:
                found.add(child)
                queue.append(child)
    return found
