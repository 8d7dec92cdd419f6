"""What a model behind a server says, in the three protocols that clients speak to it.

The acts here answer Chat Completions, Responses and Anthropic's Messages, whole or as a stream, by
the path that was asked. Like the real servers they refuse, with status 400, a conversation whose
roles are out of order, or that holds an image where the protocol takes none.
"""

import base64
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import Image

from tests.chat_server import Act, Exchange


class Call(NamedTuple):
    """A tool call that the model makes."""

    name: str
    arguments: dict[str, Any]
    id: str


class Shown(NamedTuple):
    """A picture in a request: whose it was ("user" or "tool"), and the picture."""

    by: str
    picture: Image.Image


def answers(text: str) -> Act:
    """The model answers with ``text``."""
    return _acts(text, ())


def calls(*made: Call) -> Act:
    """The model calls tools, all at once."""
    return _acts("", made)


def zooms(question: str, image: int | None = None, number: int = 1) -> Call:
    """A call of the zoom tool; ``number`` makes its id unique."""
    arguments: dict[str, Any] = {"question": question}
    return Call("zoom", arguments if image is None else arguments | {"image": image}, f"c{number}")


def _acts(text: str, made: tuple[Call, ...]) -> Act:
    def act(exchange: Exchange) -> None:
        api = exchange.path.partition("?")[0].rstrip("/").rpartition("/")[2]
        check, whole, stream = _PROTOCOLS[api]
        if wrong := check(exchange.body):
            body = {"type": "error", "error": {"message": wrong, "type": "invalid_request_error"}}
            exchange.send(json.dumps(body).encode(), 400)
        elif exchange.body.get("stream"):
            exchange.send("".join(stream(text, made)).encode(), content_type="text/event-stream")
        else:
            exchange.send(json.dumps(whole(text, made)).encode())

    return act


def pictures(body: dict[str, Any]) -> list[Shown]:
    """Every picture of a request, in order, decoded."""
    return list(_pictures_in(body.get("messages", body.get("input", [])), "user"))


def _pictures_in(part: Any, by: str) -> Iterator[Shown]:
    if isinstance(part, list):
        for inner in part:
            yield from _pictures_in(inner, by)
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    if kind in ("tool_result", "function_call_output") or part.get("role") == "tool":
        by = "tool"
    if kind in ("image_url", "input_image"):
        url = part["image_url"]
        data = (url["url"] if isinstance(url, dict) else url).partition(";base64,")[2]
        yield Shown(by, decoded(data))
    elif kind == "image":
        yield Shown(by, decoded(part["source"]["data"]))
    else:
        yield from _pictures_in(part.get("content", part.get("output")), by)


def decoded(data: str) -> Image.Image:
    """A picture from base64, whole or not at all."""
    picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    picture.load()
    return picture


# Chat Completions


def check_chat(body: dict[str, Any]) -> str | None:
    """What is wrong with a request, by OpenAI's reference of Chat Completions."""
    waiting: set[str] = set()
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                return f"tool message {message['tool_call_id']} answers no call before it"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"calls {sorted(waiting)} must be answered before a {role} message"
        if isinstance(content, list):
            kinds = {part["type"] for part in content}
            allowed = {"text", "image_url"} if role == "user" else {"text"}
            if not kinds <= allowed:
                return f"{sorted(kinds - allowed)} is not allowed in a {role} message"
        waiting |= {call["id"] for call in message.get("tool_calls") or ()}
    return f"calls {sorted(waiting)} are not answered" if waiting else None


def _chat_message(text: str, made: tuple[Call, ...]) -> dict[str, Any]:
    if not made:
        return {"role": "assistant", "content": text}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": call.id,
                "index": index,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for index, call in enumerate(made)
        ],
    }


def _chat(text: str, made: tuple[Call, ...]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls" if made else "stop",
                "message": _chat_message(text, made),
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _chat_stream(text: str, made: tuple[Call, ...]) -> Iterator[str]:
    whole = _chat_message(text, made)
    deltas: list[dict[str, Any]]
    if made:  # a chunk for each call, as the real server streams them
        deltas = [{"tool_calls": [call]} for call in whole["tool_calls"]]
    else:
        deltas = [{"content": text[:2]}, {"content": text[2:]}]
    steps: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant"}, None)]
    steps += [(delta, None) for delta in deltas]
    for delta, finish in [*steps, ({}, "tool_calls" if made else "stop")]:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "test",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


# Responses


def check_responses(body: dict[str, Any]) -> str | None:
    """What is wrong with a request, by OpenAI's reference of Responses."""
    given = body["input"]
    waiting: set[str] = set()
    for item in [] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "function_call":
            waiting.add(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in waiting:
                return f"output {item['call_id']} answers no call before it"
            waiting.remove(item["call_id"])
        elif waiting:
            return f"calls {sorted(waiting)} must be answered before a {kind}"
        parts = item.get("output") if kind == "function_call_output" else item.get("content")
        if isinstance(parts, list):
            kinds = {part["type"] for part in parts}
            allowed = {"input_text", "input_image"}
            if item.get("role") == "assistant":
                allowed = {"output_text"}
            if not kinds <= allowed:
                return f"{sorted(kinds - allowed)} is not allowed in {kind}"
    return f"calls {sorted(waiting)} are not answered" if waiting else None


def _responses(text: str, made: tuple[Call, ...]) -> dict[str, Any]:
    said = {
        "type": "message",
        "id": f"msg_{uuid.uuid4().hex}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    called = [
        {
            "type": "function_call",
            "id": f"fc_{call.id}",
            "call_id": call.id,
            "name": call.name,
            "arguments": json.dumps(call.arguments),
            "status": "completed",
        }
        for call in made
    ]
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "test",
        "output": called or [said],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1,
            "output_tokens": 1,
            "total_tokens": 2,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _responses_stream(text: str, made: tuple[Call, ...]) -> Iterator[str]:
    whole = _responses(text, made)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": whole | {"output": [], "status": "in_progress"}}
    ]
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        begun = dict(item, arguments="") if made else dict(item, content=[])
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        if made:
            kind = "response.function_call_arguments"
            events.append({"type": f"{kind}.delta", "delta": item["arguments"], **place})
            events.append({"type": f"{kind}.done", "arguments": item["arguments"], **place})
        else:
            part = {"content_index": 0, **place}
            empty = {"type": "output_text", "text": "", "annotations": []}
            events.append({"type": "response.content_part.added", "part": empty, **part})
            for half in (text[:2], text[2:]):
                delta = {"type": "response.output_text.delta", "delta": half, "logprobs": []}
                events.append(delta | part)
            done = {"type": "response.output_text.done", "text": text, "logprobs": []}
            events.append(done | part)
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        data = json.dumps(event | {"sequence_number": number})
        yield f"event: {event['type']}\ndata: {data}\n\n"


# Anthropic's Messages


def check_messages(body: dict[str, Any]) -> str | None:
    """What is wrong with a request, by Anthropic's reference of Messages."""
    waiting: set[str] = set()
    before = "assistant"
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        if role == before:
            return f"roles must alternate, got {role} twice"
        before = role
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [part["tool_use_id"] for part in parts if part["type"] == "tool_result"]
        if set(results) != waiting or len(results) != len(waiting):
            return f"calls {sorted(waiting)} must be answered at once, got {results}"
        if any(part["type"] == "tool_result" for part in parts[len(results) :]):
            return "tool results must come first in a message"
        waiting = {part["id"] for part in parts if part["type"] == "tool_use"}
        allowed = {"text", "image", "tool_result"} if role == "user" else {"text", "tool_use"}
        if other := sorted({part["type"] for part in parts} - allowed):
            return f"{other} is not allowed in a {role} message"
    return f"calls {sorted(waiting)} are not answered" if waiting else None


def _messages(text: str, made: tuple[Call, ...]) -> dict[str, Any]:
    called = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
        for call in made
    ]
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": "test",
        "content": called or [{"type": "text", "text": text}],
        "stop_reason": "tool_use" if made else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _messages_stream(text: str, made: tuple[Call, ...]) -> Iterator[str]:
    whole = _messages(text, made)
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}}
    ]
    for index, part in enumerate(whole["content"]):
        if made:
            begun, deltas = part | {"input": {}}, [json.dumps(part["input"])]
            kind, key = "input_json_delta", "partial_json"
        else:
            begun, deltas = part | {"text": ""}, [text[:2], text[2:]]
            kind, key = "text_delta", "text"
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        for delta in deltas:
            change = {"type": kind, key: delta}
            events.append({"type": "content_block_delta", "index": index, "delta": change})
        events.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}})
    events.append({"type": "message_stop"})
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


_PROTOCOLS: dict[str, tuple[Any, Any, Any]] = {
    "completions": (check_chat, _chat, _chat_stream),
    "responses": (check_responses, _responses, _responses_stream),
    "messages": (check_messages, _messages, _messages_stream),
}
