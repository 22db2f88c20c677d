"""Answers of one request on their way through the hooks of its route."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.dialects.passage_bodies import edited_answer, read_answer, read_answer_elsewhere
from gateway.dialects.passages import Passage, PassageKind, TooDeep, answer_passages
from gateway.exchange import Exchange
from gateway.hooks.content import HookedAnswer
from gateway.hooks.guarded import GuardedHook, HookPhase
from gateway.hooks.stages import HookStage, stages_of, whole_window
from gateway.json_body import is_heavy
from gateway.load.offload import Offload


class AnswerHooks:
    """Hooks of one route that judge answers."""

    def __init__(self, hooks: Sequence[GuardedHook], offload: Offload) -> None:
        self._hooks = [hook for hook in hooks if hook.judges_answers]
        self._offload = offload

    def stages(self, exchange: Exchange) -> Sequence[HookStage]:
        """Return the stages of one streamed answer."""
        return stages_of(self._hooks, exchange)

    def illegible(self, why: str) -> None:
        """Note that an answer cannot be read. Raise HookUnavailable, unless the failure of every
        hook lets pass.
        """
        for hook in self._hooks:
            hook.failed(HookPhase.ANSWER, why)

    async def judged(self, body: bytes, exchange: Exchange, *, is_json: bool) -> bytes:
        """Return the body of a whole answer as the hooks leave it. Raise what
        `GuardedHook.call` raises.
        """
        is_plain, document = False, None
        heavy = is_heavy(body)
        try:
            if heavy:
                passages = await self._offload.run(read_answer_elsewhere, body)
            else:
                document = read_answer(body)
                passages = answer_passages(document)
        except orjson.JSONDecodeError:
            if is_json:
                self.illegible("the answer is not valid JSON")
                return body
            text = body.decode("utf-8", "replace")
            is_plain, passages = True, [Passage(text, text, PassageKind.TEXT, "assistant")]
        except TooDeep:
            self.illegible("the answer is nested too deeply")
            return body
        answer = HookedAnswer(passages, exchange, document)
        for hook in self._hooks:
            await _judge(hook, answer)
        changes = answer.changes
        if not changes:
            return body
        if is_plain:
            return changes[0].encode()
        if heavy:
            return await self._offload.run(edited_answer, body, changes)
        return edited_answer(body, changes)


async def _judge(hook: GuardedHook, answer: HookedAnswer) -> None:
    if hook.on_answer is not None:
        waiting = hook.call(HookPhase.ANSWER, hook.on_answer, answer)
        if waiting is not None:
            await waiting
        return
    assert hook.on_window is not None
    for passage in answer.passages:
        if passage.text:
            window = whole_window(passage, answer.exchange)
            waiting = hook.call(HookPhase.WINDOW, hook.on_window, window)
            if waiting is not None:
                await waiting
            passage.text = window.edited
