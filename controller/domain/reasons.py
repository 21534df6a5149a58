"""Every reason, once: used unchanged in rows, logs, status, notifications and tests. One sentence each, for people."""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """CamelCase reasons of verdicts, dispatch ends, run ends and conditions."""

    def __new__(cls, value: str, sentence: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    sentence: str

    # guards: not now
    Held = "Held", "A hold is set on the job; `jobwarden release` lifts it."
    PoolFull = "PoolFull", "A pool that the job needs has too few free slots, or somebody earlier waits for it."
    PoolNotFound = "PoolNotFound", "A pool that the job names does not exist."
    Overlap = "Overlap", "An earlier run or dispatch of this job has not ended; this one waits its turn."
    Replacing = "Replacing", "The earlier runs of this job are being cancelled to make room."
    AwaitingApproval = "AwaitingApproval", "Somebody has to approve before this runs."
    Backlog = "Backlog", "All start slots of the controller are in use."
    StoreConflict = "StoreConflict", "The database refused to open the run because somebody was faster."

    # guards: no
    Forbidden = "Forbid", "The job forbids overlap, and an earlier run or dispatch has not ended."
    QueueFull = "QueueFull", "As many dispatches of this job wait as `concurrency.maxQueued` allows."
    ApprovalBacklogFull = (
        "ApprovalBacklogFull",
        "As many approvals of this job are open as `approval.maxPending` allows.",
    )
    ParameterMissing = "ParameterMissing", "A required parameter has no value."
    ParameterInvalid = "ParameterInvalid", "A parameter's value does not match its pattern."
    DuplicateKey = "DuplicateKey", "A run with the same idempotency key exists."
    ConditionFalse = "ConditionFalse", "The trigger's `if` was false."
    ConditionFailed = "ConditionFailed", "The trigger's `if` could not be evaluated, which counts as false."
    Suspended = "Suspended", "`spec.suspend` is set."

    # guards: too late
    DeadlineExceeded = "DeadlineExceeded", "It could not start within `schedule.startingDeadline`."
    NotCaughtUp = "NotCaughtUp", "Nobody was there to fire it, and `schedule.catchUp` does not make up for it."

    ErrorBackoff = "ErrorBackoff", "The job keeps failing, and `errorBackoff` stretches its schedule."

    # dispatch ends
    Superseded = "Superseded", "The job changed, so what was asked for no longer exists."
    JobDeleted = "JobDeleted", "The job was deleted."
    Replaced = "Replaced", "A newer dispatch took its place."
    CancelRequested = "CancelRequested", "Somebody asked for it to be cancelled."
    ApprovalRejected = "ApprovalRejected", "An approver said no."
    ApprovalTimedOut = "ApprovalTimedOut", "Nobody decided in time."

    Restored = "Restored", "The database was restored from a backup made before this could end."

    # run ends
    Completed = "Completed", "It ended as it should."
    Ignored = "Ignored", "A retry rule says that this failure does not matter."
    ExitCode = "ExitCode", "It ended with an exit code other than 0."
    Signal = "Signal", "It was ended by a signal that jobwarden did not send."
    StartFailed = "StartFailed", "It could not be started."
    OOMKilled = "OOMKilled", "Its container used more memory than its limit, and was killed."
    ImagePull = "ImagePull", "The image of its container could not be had within `startTimeout`."
    Unschedulable = "Unschedulable", "No node could take its Pod within `startTimeout`."
    Timeout = "Timeout", "It ran longer than `timeout`."
    OutputInvalid = "OutputInvalid", "What it wrote to $JOBWARDEN_OUTPUT cannot be used."
    Interrupted = "Interrupted", "The controller or its host stopped, or went away, under it."
    Evicted = "Evicted", "Its Pod was evicted, preempted or lost with its node."
    LeaseLost = "LeaseLost", "The replica that ran it could no longer prove that it lives."
    ReplaysExhausted = "ReplaysExhausted", "It was interrupted as often as a run may be replayed."
    Stuck = "Stuck", "The watched work has not ended in time, or its check says that it is stuck."
    StillRunning = "StillRunning", "The watched work goes on."
    Transient = "Transient", "The check could not tell; the next one will."
    WatchEnded = "WatchEnded", "The watched work has ended."
    WatchFailed = "WatchFailed", "The check itself failed."

    # trust gates: what a gate found
    IdentityResolved = "IdentityResolved", "The run acts as the principal that is declared."
    IdentityInherited = "IdentityInherited", "The run acts as the principal of the run that triggered it."
    IdentityWithheld = "IdentityWithheld", "The run that triggered it gives its children no identity, so it has none."
    IdentityNarrowed = (
        "IdentityNarrowed",
        "The run acts as the principal of the run that triggered it, with fewer scopes, as its provider confirms.",
    )
    NoIdentity = "NoIdentity", "Nobody says who the run is, so it is untrusted."
    WithinCeiling = "WithinCeiling", "It is trusted no further than the runs that triggered it."
    TrustSufficient = "TrustSufficient", "Its trust level is what the contract asks for, or higher."
    TrustInsufficient = "TrustInsufficient", "Its trust level is lower than the contract asks for."
    Permitted = "Permitted", "A rule or a decision point permits it, and none objects."
    DefaultPermit = "DefaultPermit", "No rule objects, and the policy permits what no rule speaks of."
    EscalationApproved = "EscalationApproved", "A rule or a decision point asked for approval, and it was given."

    ProofVerified = "ProofVerified", "The proof that came with the request is valid."
    ProofAbsent = "ProofAbsent", "No proof came with the request, and the policy requires none."

    BoxEnforced = "BoxEnforced", "Everything that its box asks for can be enforced where it runs."
    BoxNotTried = "BoxNotTried", "Whether its box can be made is found out on the host that runs it."

    CredentialsAllowed = "CredentialsAllowed", "All credentials that it is to be given may be given to it."
    CredentialDelivered = "CredentialDelivered", "Its policy delivers every credential that its variables take."

    # trust gates: no
    IdentityRefused = "IdentityRefused", "The provider of its identity does not vouch for it as it is declared."
    ScopesEmpty = "ScopesEmpty", "Nothing is left of the scopes that it would act with."
    CredentialRefused = "CredentialRefused", "It is to be given a credential that it cannot or must not have."
    CredentialNotDelivered = "CredentialNotDelivered", "A variable takes a credential that its policy does not deliver."
    BoxNotEnforceable = "BoxNotEnforceable", "Something that its contract asks for cannot be enforced where it runs."
    CostNotEnforceable = "CostNotEnforceable", "Its contract bounds what it costs, and its target does not tell."
    TrustAboveParent = "TrustAboveParent", "It would be trusted further than the run that triggered it."
    DownscopeUnavailable = (
        "DownscopeUnavailable",
        "The identity that it should get a part of has no provider that could narrow it.",
    )
    ParentsDisagree = "ParentsDisagree", "The runs that triggered it say different things about what it gets."
    ParentUnknown = "ParentUnknown", "What the run that triggered it was granted is not known any more."
    RuleDenied = "RuleDenied", "A rule of a policy denies it."
    RuleFailed = "RuleFailed", "A rule of a policy could not be evaluated, which denies."
    DefaultDeny = "DefaultDeny", "No rule permits it, and the policy denies what no rule speaks of."

    ProofMissing = "ProofMissing", "A policy asks for a proof, and none came with the request."
    ProofUnreadable = "ProofUnreadable", "The proof is not where the request says that it is."
    ProofInvalid = "ProofInvalid", "The proof has not the shape of one, or its signature does not fit."
    ProofWrongAlgorithm = "ProofWrongAlgorithm", "The proof is signed in a way that the policy does not take."
    ProofUnknownKey = "ProofUnknownKey", "The proof is signed with a key that is not, or no longer, the issuer's."
    ProofUntrusted = "ProofUntrusted", "No authority that the policy names vouches for the certificate of the proof."
    ProofWrongIssuer = "ProofWrongIssuer", "The proof is from another issuer."
    ProofWrongAudience = "ProofWrongAudience", "The proof is for somebody else."
    ProofWrongJob = "ProofWrongJob", "The proof is for another job."
    ProofExpired = "ProofExpired", "The proof has expired."
    ProofTooOld = "ProofTooOld", "The proof is older than the policy allows."
    ProofNotYetValid = "ProofNotYetValid", "The proof is not valid yet."
    ProofReplayed = "ProofReplayed", "The proof has been used for another run."
    ProofNotChecked = (
        "ProofNotChecked",
        "What proofs are checked with could not be had in time, or did not check it, which denies.",
    )

    DecisionPointDenied = "DecisionPointDenied", "A decision point of a policy denies it."
    DecisionInvalid = "DecisionInvalid", "What a decision point of a policy answered is no decision, which denies."
    AccessDenied = "AccessDenied", "The API server does not allow what a policy asks it about."
    NoAnswer = "NoAnswer", "Somebody outside had to be asked, and could not be asked in time, which denies."

    # trust gates: not now
    AwaitingAnswer = "AwaitingAnswer", "Somebody outside is asked about it."
    Escalated = "Escalated", "A rule or a decision point of a policy wants somebody to approve it."
    GovernorInvalid = (
        "GovernorInvalid",
        "A Cluster contract or policy that may bind the job is not valid and has no earlier version; nothing opens until it is.",
    )

    # conditions
    Accepted = "Accepted", "Valid and in the runtime database."
    Invalid = "Invalid", "The newest version is not valid; the last good one stays in force."
    ReferenceNotFound = "ReferenceNotFound", "Something that the resource names does not exist (yet)."
    SourceNotServed = "SourceNotServed", "No live controller serves the source of this resource."
    OwnershipConflict = "OwnershipConflict", "Two sources declare the same resource."
    DuplicateResource = "DuplicateResource", "One source declares the same resource more than once."
    ExecutorNotAllowed = "ExecutorNotAllowed", "The controller's settings do not allow jobs to run there."
    PodNotAllowed = "PodNotAllowed", "The Pod asks for what the controller's settings do not allow."
    KindNotAllowed = "KindNotAllowed", "The source may not declare this kind."
    InsufficientSlots = "InsufficientSlots", "The job needs more slots than the pool has."
    NoSuccess = "NoSuccess", "No run has succeeded for longer than `alerts.noSuccessFor`."
    RunsTooLong = "RunsTooLong", "A run has taken longer than `alerts.maxDuration`."
    NotFinished = "NotFinished", "Nothing has succeeded by `alerts.finishBy`."
    NothingRan = "NothingRan", "It has not run yet."
    Idle = "Idle", "Nothing of it runs."
    Active = "Active", "A run of it is open."
    NotNeeded = "NotNeeded", "Nothing waits for a decision."
    OnTime = "OnTime", "No alert is crossed."
    NotSuspended = "NotSuspended", "It may fire."
    ScheduleEnded = "ScheduleEnded", "Its schedule has no further instant."
    WillFire = "WillFire", "Its schedule has further instants, or it waits for requests."
