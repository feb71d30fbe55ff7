"""Messages as chat agents exchange them: plain dicts with an id, a role and text."""

from __future__ import annotations

from typing import Any

import cbor2

from benchmarks.text import TextSource

__all__ = ["assistant", "novel_bytes", "tool", "user"]

Message = dict[str, Any]


def user(text: TextSource, size: int) -> Message:
    """Return a message of the user with ``size`` characters of text."""
    return {"id": text.identifier(), "role": "user", "content": text.prose(size)}


def assistant(text: TextSource, size: int, *, calls: str | None = None) -> Message:
    """Return a message of the model, which may call a tool of that name."""
    message: Message = {"id": text.identifier(), "role": "assistant", "content": text.prose(size)}
    if calls is not None:
        message["tool_calls"] = [
            {
                "id": f"call_{text.identifier(24)}",
                "type": "function",
                "function": {
                    "name": calls,
                    "arguments": f'{{"query": "{" ".join(text.words(4))}", "limit": 20}}',
                },
            }
        ]
    return message


def tool(text: TextSource, size: int) -> Message:
    """Return the output of a tool."""
    return {
        "id": text.identifier(),
        "role": "tool",
        "tool_call_id": f"call_{text.identifier(24)}",
        "content": text.records(size),
    }


def novel_bytes(*values: Any) -> bytes:
    """Return values as the bytes that a perfect store would have to keep."""
    return b"".join(map(cbor2.dumps, values))
