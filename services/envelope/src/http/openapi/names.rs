//! A name for each of several forms that a body may have, and the field that says which one it is: so that
//! programs which are generated from the document have a type for each.

use serde_json::{Map, Value, json};

use super::parts::{reference, schemas};

/// The field of an outcome that says how it ended.
const OUTCOME: &str = "outcome";

/// Gives the names, to a document as it is derived from the types.
///
/// # Panics
/// If the document has lost a type that is named here: it is made of the same program.
pub(super) fn give(document: &mut Value) {
    let schemas = schemas(document);
    let description = schemas["Outcome"]["description"].clone();
    let forms = schemas["Outcome"]["oneOf"].as_array().expect("an outcome has several forms").clone();
    let mut outcomes: Vec<(String, String)> = Vec::new();
    for mut form in forms {
        let value = form["properties"][OUTCOME]["enum"][0].as_str().expect("each form has its word").to_owned();
        let name = capitalised(&value);
        be_constant(&mut form, OUTCOME, &value);
        form["title"] = name.clone().into();
        schemas.insert(name.clone(), form);
        outcomes.push((value, name));
    }
    schemas.insert("Outcome".to_owned(), union(description, OUTCOME, &outcomes));

    // Its tag is a type of its own in the program.
    be_constant(schemas.get_mut("Ready").expect("a grab may be answered so"), OUTCOME, "ready");
    schemas["Ready"]["title"] = "Ready".into();
    outcomes.insert(0, ("ready".to_owned(), "Ready".to_owned()));
    let description = schemas["GrabAnswer"]["description"].clone();
    schemas.insert("GrabAnswer".to_owned(), union(description, OUTCOME, &outcomes));
}

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// The field has this value and no other.
fn be_constant(schema: &mut Value, field: &str, value: &str) {
    schema["properties"][field] = json!({ "type": "string", "const": value });
}

/// One of several schemas, by the value of a field: pairs of a value and the name of its schema.
pub(super) fn union(description: Value, field: &str, forms: &[(String, String)]) -> Value {
    let one_of: Vec<Value> = forms.iter().map(|(_, name)| json!({ "$ref": reference(name) })).collect();
    let mapping: Map<String, Value> =
        forms.iter().map(|(value, name)| (value.clone(), reference(name).into())).collect();
    json!({
        "description": description, "oneOf": one_of,
        "discriminator": { "propertyName": field, "mapping": mapping },
    })
}
