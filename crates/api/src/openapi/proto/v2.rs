//! The messages of a v2 document.

use serde_json::Value;

use super::Kind::{Any, Bool, By, Double, Inside, Int, Message as M, Text};
use super::{Kind, Message, is_reference};

pub(super) static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, &Text),
        ("info", 2, &M(&INFO)),
        ("host", 3, &Text),
        ("basePath", 4, &Text),
        ("schemes", 5, &Text),
        ("consumes", 6, &Text),
        ("produces", 7, &Text),
        ("paths", 8, &M(&PATHS)),
        ("definitions", 9, &M(&DEFINITIONS)),
        ("parameters", 10, &M(&PARAMETERS)),
        ("security", 12, &M(&REQUIREMENT)),
        ("securityDefinitions", 13, &M(&SECURITY)),
    ],
    extensions: 16,
    named: None,
};

static INFO: Message = Message {
    fields: &[
        ("title", 1, &Text),
        ("version", 2, &Text),
        ("description", 3, &Text),
    ],
    extensions: 7,
    named: None,
};

static PATHS: Message = Message {
    fields: &[],
    extensions: 1,
    named: Some((2, &M(&PATH))),
};
static DEFINITIONS: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &M(&SCHEMA))),
};
static PARAMETERS: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &By(parameter))),
};
static REQUIREMENT: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &Inside(1, &Text))),
};
static SECURITY: Message = Message {
    fields: &[],
    extensions: 0,
    named: Some((1, &Inside(2, &M(&API_KEY)))),
};

static API_KEY: Message = Message {
    fields: &[
        ("type", 1, &Text),
        ("name", 2, &Text),
        ("in", 3, &Text),
        ("description", 4, &Text),
    ],
    extensions: 5,
    named: None,
};

static PATH: Message = Message {
    fields: &[
        ("get", 2, &M(&OPERATION)),
        ("put", 3, &M(&OPERATION)),
        ("post", 4, &M(&OPERATION)),
        ("delete", 5, &M(&OPERATION)),
        ("options", 6, &M(&OPERATION)),
        ("head", 7, &M(&OPERATION)),
        ("patch", 8, &M(&OPERATION)),
        ("parameters", 9, &By(parameter_item)),
    ],
    extensions: 10,
    named: None,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, &Text),
        ("summary", 2, &Text),
        ("description", 3, &Text),
        ("operationId", 5, &Text),
        ("produces", 6, &Text),
        ("consumes", 7, &Text),
        ("parameters", 8, &By(parameter_item)),
        ("responses", 9, &M(&RESPONSES)),
        ("schemes", 10, &Text),
        ("deprecated", 11, &Bool),
    ],
    extensions: 13,
    named: None,
};

fn parameter_item(value: &Value) -> &'static Kind {
    match is_reference(value) {
        true => const { &Inside(2, &M(&REFERENCE)) },
        false => const { &Inside(1, &By(parameter)) },
    }
}

fn parameter(value: &Value) -> &'static Kind {
    match value["in"].as_str() {
        Some("body") => const { &Inside(1, &M(&BODY)) },
        Some("path") => const { &Inside(2, &Inside(4, &M(&PATH_PARAMETER))) },
        _ => const { &Inside(2, &Inside(3, &M(&QUERY_PARAMETER))) },
    }
}

static REFERENCE: Message = Message {
    fields: &[("$ref", 1, &Text), ("description", 2, &Text)],
    extensions: 0,
    named: None,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, &Text),
        ("name", 2, &Text),
        ("in", 3, &Text),
        ("required", 4, &Bool),
        ("schema", 5, &M(&SCHEMA)),
    ],
    extensions: 6,
    named: None,
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, &Bool),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("name", 4, &Text),
        ("type", 5, &Text),
        ("format", 6, &Text),
        ("uniqueItems", 19, &Bool),
    ],
    extensions: 22,
    named: None,
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, &Bool),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("name", 4, &Text),
        ("type", 6, &Text),
        ("format", 7, &Text),
        ("uniqueItems", 20, &Bool),
    ],
    extensions: 23,
    named: None,
};

static RESPONSES: Message = Message {
    fields: &[],
    extensions: 2,
    named: Some((1, &Inside(1, &M(&RESPONSE)))),
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, &Text),
        ("schema", 2, &Inside(1, &M(&SCHEMA))),
    ],
    extensions: 5,
    named: None,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, &Text),
        ("format", 2, &Text),
        ("title", 3, &Text),
        ("description", 4, &Text),
        ("default", 5, &Any),
        ("multipleOf", 6, &Double),
        ("maximum", 7, &Double),
        ("exclusiveMaximum", 8, &Bool),
        ("minimum", 9, &Double),
        ("exclusiveMinimum", 10, &Bool),
        ("maxLength", 11, &Int),
        ("minLength", 12, &Int),
        ("pattern", 13, &Text),
        ("maxItems", 14, &Int),
        ("minItems", 15, &Int),
        ("uniqueItems", 16, &Bool),
        ("maxProperties", 17, &Int),
        ("minProperties", 18, &Int),
        ("required", 19, &Text),
        ("enum", 20, &By(|_| &Any)),
        ("additionalProperties", 21, &By(additional)),
        ("type", 22, &Inside(1, &Text)),
        ("items", 23, &Inside(1, &M(&SCHEMA))),
        ("allOf", 24, &M(&SCHEMA)),
        ("properties", 25, &M(&DEFINITIONS)),
        ("example", 30, &Any),
    ],
    extensions: 31,
    named: None,
};

fn additional(value: &Value) -> &'static Kind {
    match value {
        Value::Bool(_) => const { &Inside(2, &Bool) },
        _ => const { &Inside(1, &M(&SCHEMA)) },
    }
}
