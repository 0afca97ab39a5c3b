//! The messages of a v3 document.

use serde_json::Value;

use super::Kind::{Any, Bool, By, Double, Inside, Int, Message as M, Text};
use super::{Kind, Message, is_reference};

pub(super) static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, &Text),
        ("info", 2, &M(&INFO)),
        ("paths", 4, &M(&PATHS)),
        ("components", 5, &M(&COMPONENTS)),
    ],
    extensions: 9,
    named: None,
};

static INFO: Message = Message {
    fields: &[
        ("title", 1, &Text),
        ("description", 2, &Text),
        ("version", 6, &Text),
    ],
    extensions: 7,
    named: None,
};

static PATHS: Message = Message {
    fields: &[],
    extensions: 2,
    named: Some((1, &M(&PATH))),
};

static COMPONENTS: Message = Message {
    fields: &[
        ("schemas", 1, &M(&SCHEMAS)),
        ("securitySchemes", 7, &M(&SECURITY)),
    ],
    extensions: 10,
    named: None,
};

static SCHEMAS: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &By(schema))),
};
static SECURITY: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &Inside(1, &M(&SCHEME)))),
};

static SCHEME: Message = Message {
    fields: &[
        ("type", 1, &Text),
        ("description", 2, &Text),
        ("name", 3, &Text),
        ("in", 4, &Text),
    ],
    extensions: 9,
    named: None,
};

static PATH: Message = Message {
    fields: &[
        ("get", 4, &M(&OPERATION)),
        ("put", 5, &M(&OPERATION)),
        ("post", 6, &M(&OPERATION)),
        ("delete", 7, &M(&OPERATION)),
        ("options", 8, &M(&OPERATION)),
        ("head", 9, &M(&OPERATION)),
        ("patch", 10, &M(&OPERATION)),
        ("parameters", 13, &By(parameter)),
    ],
    extensions: 14,
    named: None,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, &Text),
        ("summary", 2, &Text),
        ("description", 3, &Text),
        ("operationId", 5, &Text),
        ("parameters", 6, &By(parameter)),
        ("requestBody", 7, &Inside(1, &M(&BODY))),
        ("responses", 8, &M(&RESPONSES)),
        ("deprecated", 10, &Bool),
    ],
    extensions: 13,
    named: None,
};

fn parameter(value: &Value) -> &'static Kind {
    match is_reference(value) {
        true => const { &Inside(2, &M(&REFERENCE)) },
        false => const { &Inside(1, &M(&PARAMETER)) },
    }
}

static REFERENCE: Message = Message {
    fields: &[
        ("$ref", 1, &Text),
        ("summary", 2, &Text),
        ("description", 3, &Text),
    ],
    extensions: 0,
    named: None,
};

static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, &Text),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("required", 4, &Bool),
        ("schema", 10, &By(schema)),
    ],
    extensions: 14,
    named: None,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, &Text),
        ("content", 2, &M(&MEDIA_TYPES)),
        ("required", 3, &Bool),
    ],
    extensions: 4,
    named: None,
};

static MEDIA_TYPES: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &M(&MEDIA_TYPE))),
};
static MEDIA_TYPE: Message = Message {
    fields: &[("schema", 1, &By(schema))],
    extensions: 5,
    named: None,
};
static RESPONSES: Message = Message {
    fields: &[],
    extensions: 3,
    named: Some((2, &Inside(1, &M(&RESPONSE)))),
};

static RESPONSE: Message = Message {
    fields: &[("description", 1, &Text), ("content", 3, &M(&MEDIA_TYPES))],
    extensions: 5,
    named: None,
};

fn schema(value: &Value) -> &'static Kind {
    match is_reference(value) {
        true => const { &Inside(2, &M(&REFERENCE)) },
        false => const { &Inside(1, &M(&SCHEMA)) },
    }
}

static SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, &Bool),
        ("example", 7, &Any),
        ("title", 9, &Text),
        ("multipleOf", 10, &Double),
        ("maximum", 11, &Double),
        ("exclusiveMaximum", 12, &Bool),
        ("minimum", 13, &Double),
        ("exclusiveMinimum", 14, &Bool),
        ("maxLength", 15, &Int),
        ("minLength", 16, &Int),
        ("pattern", 17, &Text),
        ("maxItems", 18, &Int),
        ("minItems", 19, &Int),
        ("uniqueItems", 20, &Bool),
        ("maxProperties", 21, &Int),
        ("minProperties", 22, &Int),
        ("required", 23, &Text),
        ("enum", 24, &By(|_| &Any)),
        ("type", 25, &Text),
        ("allOf", 26, &By(schema)),
        ("oneOf", 27, &By(schema)),
        ("anyOf", 28, &By(schema)),
        ("not", 29, &M(&SCHEMA)),
        ("items", 30, &Inside(1, &By(schema))),
        ("properties", 31, &M(&SCHEMAS)),
        ("additionalProperties", 32, &By(additional)),
        ("default", 33, &By(default)),
        ("description", 34, &Text),
        ("format", 35, &Text),
    ],
    extensions: 36,
    named: None,
};

fn additional(value: &Value) -> &'static Kind {
    match value {
        Value::Bool(_) => const { &Inside(2, &Bool) },
        _ => const { &Inside(1, &By(schema)) },
    }
}

/// Objects as defaults have no place in the message.
fn default(value: &Value) -> &'static Kind {
    match value {
        Value::Number(_) => const { &Inside(1, &Double) },
        Value::Bool(_) => const { &Inside(2, &Bool) },
        Value::String(_) => const { &Inside(3, &Text) },
        _ => const { &M(&NOTHING) },
    }
}

static NOTHING: Message = Message {
    fields: &[],
    extensions: 0,
    named: None,
};
