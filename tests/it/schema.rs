//! The JSON Schemas in `rules/` are those of the types. `FOREBAY_UPDATE=1` writes them anew.

use std::path::Path;

use forebay::config::raw::RawConfig;
use forebay::rules::raw::RawPack;

fn holds(file: &str, schema: &schemars::Schema) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(file);
    let text = serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n";
    if std::env::var_os("FOREBAY_UPDATE").is_some() {
        std::fs::write(&path, &text).expect("the schema can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "rules/{file} is not the schema of the types: run the tests with FOREBAY_UPDATE=1"
    );
}

#[test]
fn the_schema_of_rule_packs_is_current() {
    holds("rules.schema.json", &schemars::schema_for!(RawPack));
}

#[test]
fn the_schema_of_the_configuration_is_current() {
    holds("forebay.schema.json", &schemars::schema_for!(RawConfig));
}
