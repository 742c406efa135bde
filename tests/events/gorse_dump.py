# SPDX-License-Identifier: Apache-2.0
"""Writes Gorse dumps with the protobuf package, from a descriptor made at run time.

The messages follow Gorse's protocol/protocol.proto; the framing is that of its GET /api/dump.
"""

from __future__ import annotations

import struct
from datetime import datetime

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

MARKS = {"User": -1, "Item": -2, "Feedback": -3}
T = descriptor_pb2.FieldDescriptorProto
FIELDS = {
    "User": [("user_id", 1, T.TYPE_STRING), ("labels", 2, T.TYPE_BYTES), ("comment", 3, T.TYPE_STRING)],
    "Item": [
        ("namespace", 1, T.TYPE_STRING),
        ("item_id", 2, T.TYPE_STRING),
        ("is_hidden", 3, T.TYPE_BOOL),
        ("categories", 4, "repeated"),
        ("timestamp", 5, "Timestamp"),
        ("labels", 6, T.TYPE_BYTES),
        ("comment", 7, T.TYPE_STRING),
    ],
    "Feedback": [
        ("namespace", 1, T.TYPE_STRING),
        ("feedback_type", 2, T.TYPE_STRING),
        ("user_id", 3, T.TYPE_STRING),
        ("item_id", 4, T.TYPE_STRING),
        ("value", 5, T.TYPE_DOUBLE),
        ("timestamp", 6, "Timestamp"),
        ("comment", 7, T.TYPE_STRING),
        ("updated", 8, "Timestamp"),
        ("labels", 9, T.TYPE_BYTES),
    ],
    "OldFeedback": [
        ("feedback_type", 2, T.TYPE_STRING),
        ("user_id", 3, T.TYPE_STRING),
        ("item_id", 4, T.TYPE_STRING),
        ("timestamp", 5, "Timestamp"),
        ("comment", 6, T.TYPE_STRING),
    ],
}


def messages():
    """The message classes by name."""
    file = descriptor_pb2.FileDescriptorProto(name="gorse.proto", package="protocol", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=T.LABEL_OPTIONAL)
            if kind == "Timestamp":
                added.type, added.type_name = T.TYPE_MESSAGE, ".google.protobuf.Timestamp"
            elif kind == "repeated":
                added.type, added.label = T.TYPE_STRING, T.LABEL_REPEATED
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"protocol.{name}"))
        for name in FIELDS
    }


MESSAGES = messages()


def record(kind: str, **values) -> bytes:
    """One framed record."""
    message = MESSAGES[kind]()
    for name, value in values.items():
        if isinstance(value, datetime):
            getattr(message, name).FromDatetime(value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    body = message.SerializeToString()
    return struct.pack("<q", len(body)) + body


def dump(users=(), items=(), feedback=(), end: bytes = bytes(8), kind: str = "Feedback") -> bytes:
    """A whole dump of rows given as dicts."""
    sections = (("User", users), ("Item", items), (kind, feedback))
    body = b""
    for name, rows in sections:
        body += struct.pack("<q", MARKS.get(name, -3)) + b"".join(record(name, **row) for row in rows)
    return body + end
