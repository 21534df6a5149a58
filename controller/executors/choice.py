"""Several executors as one: a request says itself whether it is a Pod.

The composition root makes one for the dispatcher. Invariant: a request that nobody here can run never arrives; the launch refuses it.
"""

from controller.executors.protocol import Execution, ExecutionRequest, Executor, OnEnd


class Executors:
    """See `protocol.Executor`."""

    def __init__(self, local: Executor, pods: Executor) -> None:
        self._local, self._pods = local, pods

    def start(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """See `protocol.Executor`."""
        return self._of(request).start(request, on_end)

    def adopt(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """See `protocol.Executor`."""
        return self._of(request).adopt(request, on_end)

    def close(self) -> None:
        """See `protocol.Executor`."""
        self._local.close()
        self._pods.close()

    def _of(self, request: ExecutionRequest) -> Executor:
        return self._local if request.pod is None else self._pods
