"""A limit on the tokens that a run may use."""

import asyncio


class Budget:
    """Tokens that may be used: reserved before a call for the most that it can take, and booked after it."""

    def __init__(self, limit: int | None) -> None:
        self._limit, self._reserved, self.used = limit, 0, 0
        self._changed = asyncio.Condition()

    async def reserve(self, tokens: int) -> bool:
        """Set tokens aside; False where they are not there even when all calls under way have ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has(tokens) or not self._reserved)
            if not self._has(tokens):
                return False
            self._reserved += tokens
            return True

    async def settle(self, reserved: int, used: int) -> None:
        """Count what a call used instead of what was set aside for it."""
        async with self._changed:
            self._reserved -= reserved
            self.used += used
            self._changed.notify_all()

    def _has(self, tokens: int) -> bool:
        return self._limit is None or self.used + self._reserved + tokens <= self._limit
