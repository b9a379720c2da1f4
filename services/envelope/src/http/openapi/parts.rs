//! Parts of a document, for those who change it.

use std::collections::BTreeSet;

use hongbao_core::calls::CallInfo;
use hongbao_core::limits::{CURSOR_DIGITS_MAX, EVENT_CURSOR_CHARS_MAX, REQUEST_ID_CHARS_MAX};
use hongbao_core::ticket::TICKET_CHARS;
use serde_json::{Map, Value};

/// The schemas by their names.
pub(super) fn schemas(document: &mut Value) -> &mut Map<String, Value> {
    document["components"]["schemas"].as_object_mut().expect("there are schemas")
}

/// Where a schema of this name is.
pub(super) fn reference(schema: &str) -> String {
    format!("#/components/schemas/{schema}")
}

/// Every call of the document.
pub(super) fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().expect("there are calls");
    paths.values_mut().flat_map(|path| path.as_object_mut().expect("a path has methods").values_mut())
}

/// The part of the document about a call, if it is in there.
pub(super) fn operation<'d>(document: &'d mut Value, call: &CallInfo) -> Option<&'d mut Value> {
    document["paths"].get_mut(call.path)?.get_mut(call.method.as_str().to_lowercase())
}

/// Takes a path out.
pub(super) fn remove(document: &mut Value, path: &str) {
    document["paths"].as_object_mut().expect("there are calls").remove(path);
}

/// Takes out what no call refers to: tags, and components in as many steps as they refer to each other.
pub(super) fn remove_unused(document: &mut Value) {
    let of_call = |call: &mut Value| call["tags"].as_array().cloned().unwrap_or_default();
    let used: Vec<Value> = operations(document).flat_map(of_call).collect();
    document["tags"].as_array_mut().expect("there are tags").retain(|tag| used.contains(&tag["name"]));
    loop {
        let mut referred = BTreeSet::new();
        collect_references(document, &mut referred);
        let is_referred = |kind: &str, name: &str| referred.contains(&format!("#/components/{kind}/{name}"));
        let mut removed = false;
        for kind in ["schemas", "examples", "headers"] {
            let parts = document["components"][kind].as_object_mut().expect("the document has these");
            let before = parts.len();
            parts.retain(|name, _| is_referred(kind, name));
            removed |= parts.len() < before;
        }
        if !removed {
            return;
        }
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

/// Adds the fields of an object to another.
pub(super) fn extend(object: &mut Value, fields: &Value) {
    let object = object.as_object_mut().expect("it is an object");
    for (name, value) in fields.as_object().expect("fields are an object") {
        object.insert(name.clone(), value.clone());
    }
}

/// What a ticket looks like, as a regular expression.
pub(super) fn ticket_pattern() -> String {
    format!("^[A-Za-z0-9_-]{{{TICKET_CHARS}}}$")
}

/// What the cursor of a page looks like.
pub(super) fn cursor_pattern() -> String {
    format!("^[0-9]{{1,{CURSOR_DIGITS_MAX}}}$")
}

/// What the cursor of a page of events looks like.
pub(super) fn event_cursor_pattern() -> String {
    format!("^[A-Za-z0-9_-]{{1,{EVENT_CURSOR_CHARS_MAX}}}$")
}

/// Whether a call reads events, whose cursors are others.
pub(super) fn reads_events(operation: &Value) -> bool {
    operation["tags"].as_array().is_some_and(|tags| tags.contains(&"events".into()))
}

/// What the id of a request looks like.
pub(super) fn id_pattern() -> String {
    format!("^[A-Za-z0-9_-]{{1,{REQUEST_ID_CHARS_MAX}}}$")
}
