use std::fmt::Write as _;

use super::*;

fn refusal(schema: &str) -> String {
    let refused = check(schema, SchemaUse::Format).expect_err(schema);
    format!("{} {}", refused.path, refused.rule)
}

fn takes(schema: &str) {
    if let Err(refused) = check(schema, SchemaUse::Format) {
        panic!("{schema}: {refused:?}");
    }
}

/// As pydantic writes one: definitions, references that share them, `anyOf` with null, titles.
const ORDER: &str = r##"{"$defs":{"Address":{"properties":{"street":{"title":"Street","type":"string"},
"zip":{"pattern":"^[0-9]{5}(-[0-9]{4})?$",
"type":"string"}},"required":["street","zip"],"title":"Address","type":"object"},"Colour":{"enum":["red","green"],"title":"Colour",
"type":"string"},
"Line":{"properties":{"sku":{"maxLength":64,"minLength":1,"type":"string"},"colour":{"$ref":"#/$defs/Colour"},"count":{"maximum":1000,
"minimum":1,"type":"integer"},"tags":{"anyOf":[{"items":{"type":"string"},"maxItems":10,"type":"array"},{"type":"null"}],"default":null}},
"required":["sku","count"],"type":"object"}},"additionalProperties":false,"description":"An order","properties":{"billing":
{"$ref":"#/$defs/Address"},"shipping":{"anyOf":[{"$ref":"#/$defs/Address"},{"type":"null"}]},"lines":{"items":{"$ref":"#/$defs/Line"},
"minItems":1,"type":"array"},"placed":{"format":"date-time","type":"string"},"meta":{"additionalProperties":{"type":"string"},
"type":"object"}},
"required":["billing","lines"],"title":"Order","type":"object"}"##;

/// As zod writes one.
const CONTACT: &str = r##"{"$schema":"http://json-schema.org/draft-07/schema#","$ref":"#/definitions/Contact",
"definitions":{"Contact":{"type":
"object","properties":{"kind":{"type":"string","const":"person"},"age":{"type":"integer","minimum":0,"maximum":9007199254740991},
"id":{"type":
"string","format":"uuid"},"pair":{"type":"array","prefixItems":[{"type":"number"},{"type":"string"}]},"either":{"oneOf":[{"type":"object",
"properties":{"a":{"type":["string","null"]}}},{"not":{}}]}},"required":["kind"],"additionalProperties":false}}}"##;

#[test]
fn schemas_as_pydantic_and_zod_write_them_are_taken() {
    takes(ORDER);
    takes(CONTACT);
    takes("{}");
    takes(r#"{"type":"nosuchtype"}"#);
    takes(r#"{"type":"object","properties":null,"items":true}"#);
}

#[test]
fn a_property_named_like_a_keyword_is_a_property() {
    takes(
        r#"{"type":"object","properties":{"pattern":{"type":"string"},"$ref":{"type":"string"},"minItems":{"type":"integer"},
        "enum":{"type":"array","items":{}},"properties":{"type":"object","properties":{"type":{"type":"string"}}}}}"#,
    );
    // And what stands in a value is no schema.
    takes(r#"{"const":{"pattern":"]","minItems":-1,"properties":7}}"#);
    takes(r#"{"default":{"$ref":"elsewhere"},"examples":[{"pattern":5}],"x-own":{"minItems":"many"}}"#);
}

#[test]
fn bytes_depth_properties_and_names_are_bounded() {
    let properties = |count: usize| {
        let all: Vec<String> = (0..count).map(|index| format!(r#""p{index}":{{}}"#)).collect();
        format!(r#"{{"properties":{{{}}}}}"#, all.join(","))
    };
    takes(&properties(256));
    assert_eq!(refusal(&properties(3000)), "properties must be at most 256 properties; it has 3000");
    let spread: Vec<String> = (0..5).map(|index| format!(r#""d{index}":{}"#, properties(250))).collect();
    assert!(refusal(&format!(r#"{{"$defs":{{{}}}}}"#, spread.join(","))).contains("1000 properties in the whole"));
    assert!(refusal(&format!(r#"{{"title":"{}"}}"#, "x".repeat(70_000))).contains("65536 bytes"));
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(8000), "}".repeat(8000));
    assert!(refusal(&deep).contains("64 levels deep; it has 8001"));
    let name = "x".repeat(257);
    for keyword in ["properties", "$defs", "patternProperties"] {
        assert!(refusal(&format!(r#"{{"{keyword}":{{"{name}":{{}}}}}}"#)).contains("names of at most 256 bytes"));
    }
    assert!(refusal(r#"{"a":1,"a":2}"#).contains("each key once"));
}

#[test]
fn every_keyword_that_costs_is_bounded_and_named_with_its_path() {
    let list = |count: usize| vec!["{}"; count].join(",");
    for (schema, says) in [
        (r#"{"properties":{"a":{"pattern":"^(?:x)$"}}}"#.to_owned(), "properties.a.pattern must not have a group"),
        (r#"{"items":{"anyOf":[{},{"pattern":7}]}}"#.to_owned(), "items.anyOf[1].pattern must be text"),
        (r#"{"patternProperties":{"]":{}}}"#.to_owned(), "patternProperties must have no ]"),
        (r#"{"minItems":1000000}"#.to_owned(), "minItems must be a whole number from 0 to 2000"),
        (r#"{"maxItems":1e6}"#.to_owned(), "maxItems must be a whole number"),
        (r#"{"minLength":-1}"#.to_owned(), "minLength must be a whole number"),
        (r#"{"maxLength":2001}"#.to_owned(), "maxLength must be a whole number"),
        (r#"{"minProperties":99999999999999999999}"#.to_owned(), "minProperties must be a whole number"),
        (r#"{"maxProperties":"3"}"#.to_owned(), "maxProperties must be a whole number"),
        (r#"{"minItems":5,"maxItems":3}"#.to_owned(), "minItems must be at most maxItems"),
        (r#"{"minLength":5,"maxLength":3}"#.to_owned(), "minLength must be at most maxLength"),
        (r#"{"type":"integer","minimum":200000000000000000}"#.to_owned(), "minimum must be below"),
        (r#"{"type":["null","integer"],"exclusiveMaximum":-1000000000000000}"#.to_owned(), "exclusiveMaximum must be above"),
        (r#"{"type":"integer","minimum":0,"maximum":1e300}"#.to_owned(), "maximum must be from"),
        (format!(r#"{{"enum":[{}]}}"#, list(501)), "enum must be at most 500 values"),
        (format!(r#"{{"enum":["{}"]}}"#, "x".repeat(2000)), "enum must have values of at most 1024 bytes"),
        (format!(r#"{{"const":["{}"]}}"#, "x".repeat(2000)), "const must have values of at most 1024 bytes"),
        (format!(r#"{{"anyOf":[{}]}}"#, list(101)), "anyOf must be at most 100 schemas"),
        (format!(r#"{{"oneOf":[{}]}}"#, list(101)), "oneOf must be at most 100 schemas"),
        (format!(r#"{{"allOf":[{}]}}"#, list(101)), "allOf must be at most 100 schemas"),
        (format!(r#"{{"prefixItems":[{}]}}"#, list(101)), "prefixItems must be at most 100 schemas"),
        (format!(r#"{{"items":[{}]}}"#, list(101)), "items must be at most 100 schemas"),
        (r#"{"allOf":{}}"#.to_owned(), "allOf must be a list"),
        (format!(r#"{{"format":"{}"}}"#, "x".repeat(65)), "format must be text of at most 64 bytes"),
        (r#"{"type":["object","object"]}"#.to_owned(), "type must be a type or a list of different types"),
        (r#"{"type":7}"#.to_owned(), "type must be"),
        (r#"{"properties":[]}"#.to_owned(), "properties must be an object"),
        (r#"{"properties":{"a":"string"}}"#.to_owned(), "properties.a must be a schema"),
        (r#"{"if":{"then":{"not":{"contains":{"const":"x","maxItems":-1}}}}}"#.to_owned(), "if.then.not.contains.maxItems must"),
        (r#"{"dependentSchemas":{"a b\n":{"minItems":-1}}}"#.to_owned(), r#"dependentSchemas."a b\n".minItems must"#),
    ] {
        let said = refusal(&schema);
        assert!(said.starts_with(says), "{says:?} is not how {said:?} starts");
    }
}

#[test]
fn a_reference_leads_into_the_schema_and_never_in_a_circle() {
    for (schema, says) in [
        (r##"{"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/A"}}}"##, "must not lead back"),
        (r##"{"$defs":{"A":{"properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"items":{"$ref":"#/$defs/A"}}}}"##, "must not lead back"),
        (r##"{"definitions":{"A":{"allOf":[{"$ref":"#/definitions/A"}]}}}"##, "must not lead back"),
        (r##"{"properties":{"a":{"properties":{"b":{"$ref":"#/properties/a"}}}}}"##, "must not lead back"),
        (r##"{"$defs":{"a/b":{"not":{"$ref":"#/$defs/a~1b"}}}}"##, "must not lead back"),
        (r##"{"anyOf":[{},{"items":{"$ref":"#/anyOf/1"}}]}"##, "must not lead back"),
        (r##"{"$ref":"#/$defs/a~1b","$defs":{"a/b":{},"a~1b":{"$ref":"#/$defs/a~1b"}}}"##, "in two ways"),
        (r##"{"$ref":"https://example.com/schema"}"##, "must lead into this schema"),
        (r##"{"$ref":"https://example.com/schema#/$defs/A","$defs":{"A":{}}}"##, "must lead into this schema"),
        (r##"{"$ref":"other.json#/A"}"##, "must lead into this schema"),
        (r##"{"$ref":"#"}"##, "must lead into this schema"),
        (r##"{"$ref":"#anchor"}"##, "must lead into this schema"),
        (r##"{"$ref":7}"##, "must be text"),
        (r##"{"$ref":"#/$defs/B","$defs":{"A":{}}}"##, "must name a schema that is there"),
        (r##"{"anyOf":[{}],"items":{"$ref":"#/anyOf/00"}}"##, "must name a schema that is there"),
        (r##"{"items":{"$ref":"#/properties"},"properties":{"minItems":{}}}"##, "must name a schema,"),
        (r##"{"$ref":"#/x","x":{"pattern":"]"}}"##, "must name a schema,"),
        (r##"{"$ref":"#/default","default":{}}"##, "must name a schema,"),
        (r##"{"$dynamicRef":"#a"}"##, "use $ref"),
    ] {
        let said = refusal(schema);
        assert!(said.contains(says), "{schema}: {said}");
    }
    assert!(refusal(&format!(r##"{{"$ref":"#/{}"}}"##, "x/".repeat(300))).contains("at most 512 bytes"));
    takes(r##"{"properties":{"a":{"$ref":"#/$defs/a~1b~0c"},"b":{"$ref":"#/anyOf/0"}},"$defs":{"a/b~c":{}},"anyOf":[{}]}"##);
}

#[test]
fn what_references_and_types_lead_to_is_counted_as_often_as_they_lead_there() {
    let definitions = |count: usize, of: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(|index| format!(r#""D{index}":{}"#, of(index))).collect();
        format!(r#"{{"$defs":{{{}}}}}"#, all.join(","))
    };
    // Each twice the one before it.
    let doubling = definitions(30, &|index| match index {
        0 => "{}".to_owned(),
        _ => format!(r##"{{"properties":{{"a":{{"$ref":"#/$defs/D{0}"}},"b":{{"$ref":"#/$defs/D{0}"}}}}}}"##, index - 1),
    });
    assert!(refusal(&doubling).contains("at most 10000 schemas"));
    let chain = definitions(100, &|index| match index {
        0 => "{}".to_owned(),
        _ => format!(r##"{{"items":{{"$ref":"#/$defs/D{}"}}}}"##, index - 1),
    });
    assert!(refusal(&chain).contains("at most 64 levels of schemas"));
    let types = format!("{}{{}}{}", r#"{"type":["object","array"],"items":"#.repeat(20), "}".repeat(20));
    assert!(refusal(&types).contains("each counted as often as a $ref or type leads to it"));
    let merged: Vec<String> = (0..100).map(|index| format!(r#""p{index}":{{}}"#)).collect();
    let merged = format!(
        r##"{{"allOf":[{}],"$defs":{{"A":{{"properties":{{{}}}}}}}}}"##,
        vec![r##"{"$ref":"#/$defs/A"}"##; 20].join(","),
        merged.join(",")
    );
    assert!(refusal(&merged).contains("256 properties of one object"));
    let long: Vec<String> = (0..200).map(|index| format!(r#""p{index}":{{"maxLength":2000}}"#)).collect();
    assert!(refusal(&format!(r#"{{"properties":{{{}}}}}"#, long.join(","))).contains("at most 100000 parts"));
    let many = definitions(300, &|_| "{}".to_owned());
    let references: Vec<String> = (0..300).map(|index| format!(r##"{{"$ref":"#/$defs/D{index}"}}"##)).collect();
    let many = many.replacen('{', &format!(r#"{{"default":[{}],"#, references.join(",")), 1);
    assert!(refusal(&many).contains("256 different $ref"));
}

#[test]
fn an_error_tells_the_place_in_few_words_however_long_the_names_are() {
    let mut schema = r#"{"minItems":-1}"#.to_owned();
    for _ in 0..30 {
        schema = format!(r#"{{"properties":{{"{}":{schema}}}}}"#, "\\u00e9\\n".repeat(60));
    }
    let refused = check(&schema, SchemaUse::Format).unwrap_err();
    assert!(refused.path.chars().count() <= 201 && !refused.path.contains('\n'), "{}", refused.path);
}

#[test]
fn the_largest_hostile_texts_come_to_an_answer_on_the_stack_of_a_test() {
    let mut texts = vec!["[".repeat(65_000), "{\"a\":".repeat(13_000), format!("{{\"a\":\"{}", "\\".repeat(65_000))];
    let mut wide = r#"{"enum":["#.to_owned();
    for index in 0..9000 {
        write!(wide, "{index},").unwrap();
    }
    texts.push(wide + "0]}");
    texts.push(format!(r#"{{"anyOf":[{}]}}"#, vec![r##"{"$ref":"#/anyOf/0"}"##; 100].join(",")));
    for text in &texts {
        assert!(check(text, SchemaUse::Format).is_err());
    }
}

#[test]
fn a_tools_parameters_may_be_as_long_as_real_ones_are() {
    // As agents' tools for whole files have them.
    let schema = r#"{"properties":{"script":{"type":"string","maxLength":524288},"lines":{"type":"array","maxItems":100000}}}"#;
    assert_eq!(check(schema, SchemaUse::Tool), Ok(()));
    assert!(check(schema, SchemaUse::Format).unwrap_err().rule.contains("from 0 to 2000"));
    for endless in [r#"{"maxLength":-1}"#, r#"{"maxLength":1e300}"#, r#"{"maxLength":"7"}"#, r#"{"maxLength":18446744073709551615}"#] {
        assert_eq!(check(endless, SchemaUse::Tool).unwrap_err().path, "maxLength", "{endless}");
    }
}
