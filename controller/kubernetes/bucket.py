"""How fast an API server may be written to: so many calls a second over time, and some at once."""

import asyncio


class Bucket:
    """A token bucket; starts full. For one loop."""

    def __init__(self, rate: float, burst: float) -> None:
        """`rate` in calls a second."""
        self._rate, self._burst, self._left, self._at = rate, burst, burst, 0.0

    async def take(self) -> None:
        """Wait until one more call is in order."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)
