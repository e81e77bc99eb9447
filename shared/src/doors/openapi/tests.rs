use axum::body::Body;
use axum::response::Response;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::doors::refusal::plain_form;
use crate::doors::{DoorRequest, Refusal};

/// Left out or not: what is taken and what is given differ.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Part {
    #[serde(default)]
    count: u32,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "its schema alone is looked at")]
struct Taken {
    stream: Option<bool>,
    part: Part,
    /// Of any form.
    other: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
struct Given {
    part: Part,
}

async fn answer(_: DoorRequest) -> Result<Response<Body>, Refusal> {
    Ok(Response::new(Body::empty()))
}

fn policy(caller: CallerKind) -> MethodPolicy {
    MethodPolicy { caller, most_bytes: 1000, is_recorded: caller == CallerKind::EndUser }
}

fn document() -> Value {
    let metered = Route::new(Method::POST, "/v1/things", policy(CallerKind::EndUser), "makes things", answer);
    let one = Route::new(Method::GET, "/v1/things/{*name}", policy(CallerKind::Anybody), "one thing", answer);
    let routes = vec![metered.taking::<Taken>().giving::<Given>(), one.giving::<Given>()];
    let other = Route::new(Method::POST, "/other", policy(CallerKind::Anybody), "another", answer).taking_form::<Part>();
    let doors =
        [Door { name: "Things of others", refusal: plain_form, routes }, Door { name: "Other", refusal: plain_form, routes: vec![other] }];
    let services = ["tollgate.inference.v1.Inference"];
    let end_user = |_: &str, _: &str| policy(CallerKind::EndUser);
    Doors { answerer: Answerer::Inference, doors: &doors, services: &services, policy: end_user }.document()
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| match value.as_str().filter(|_| key == "$ref") {
                Some(target) => vec![target.to_owned()],
                None => references(value),
            })
            .collect(),
        Value::Array(elements) => elements.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn whatever_is_referred_to_is_there() {
    let document = document();
    let references = references(&document);
    assert!(references.len() > 50, "{references:?}");
    for target in references {
        assert!(document.pointer(target.trim_start_matches('#')).is_some_and(Value::is_object), "{target}");
    }
}

#[test]
fn a_type_that_is_taken_in_one_form_and_given_in_another_has_two_schemas() {
    let schemas = &document()["components"]["schemas"];
    assert_eq!(schemas["Thingsofothers.Part"]["required"], Value::Null, "what is taken may lack it");
    assert_eq!(schemas["Thingsofothers.PartGiven"]["required"], json!(["count"]), "what is given has it");
    let part = |name: &str| schemas[name]["properties"]["part"]["$ref"].as_str().unwrap().to_owned();
    assert_eq!(part("Thingsofothers.Taken"), "#/components/schemas/Thingsofothers.Part");
    assert_eq!(part("Thingsofothers.Given"), "#/components/schemas/Thingsofothers.PartGiven");
    assert!(schemas["Other.Part"].is_object(), "doors don't share names");
    assert!(schemas["Thingsofothers.Taken"]["properties"]["other"].is_object(), "generators of clients don't know true as a schema");
}

#[test]
fn an_operation_says_what_it_takes_who_may_call_and_what_it_costs() {
    let document = document();
    let metered = &document["paths"]["/v1/things"]["post"];
    assert_eq!((&metered["summary"], &metered["operationId"]), (&"makes things".into(), &"post_v1_things".into()));
    assert_eq!(metered["security"], json!([{ "bearer": [] }, { "apiKey": [] }]));
    assert_eq!(metered["requestBody"]["description"], "At most 1000 bytes.");
    let answer = &metered["responses"]["200"];
    assert!(answer["content"]["text/event-stream"].is_object(), "it streams when it is asked to: {answer:#}");
    assert!(answer["headers"]["x-tollgate-charged-credits"].is_object());
    assert!(metered["parameters"].to_string().contains("IdempotencyKey"));
    let one = &document["paths"]["/v1/things/{name}"]["get"];
    assert_eq!((&one["security"], &one["parameters"][0]["name"]), (&json!([]), &"name".into()));
    let form = &document["paths"]["/other"]["post"]["requestBody"]["content"];
    assert!(form["application/x-www-form-urlencoded"].is_object(), "{form}");
}

#[test]
fn a_refusals_reasons_stand_under_its_status_with_the_body_that_is_really_sent() {
    let document = document();
    let response = document["paths"]["/v1/things"]["post"]["responses"]["402"]["$ref"].as_str().unwrap();
    let paid = document.pointer(response.trim_start_matches('#')).unwrap();
    assert!(paid["description"].as_str().unwrap().starts_with("`INSUFFICIENT_CREDITS`: fewer credits"), "{paid:#}");
    let example = &paid["content"]["application/json"]["examples"]["INSUFFICIENT_CREDITS"]["value"];
    assert_eq!(example["error"]["code"], "INSUFFICIENT_CREDITS");
    let open = &document["paths"]["/other"]["post"]["responses"];
    assert!(open.get("401").is_none() && open.get("429").is_some(), "an open door asks for no credential: {open:#}");
    let chat = &document["paths"]["/tollgate.inference.v1.Inference/Chat"];
    assert!(chat.is_null(), "a stream is no unary method");
    let list = &document["paths"]["/tollgate.inference.v1.Inference/ListModels"]["post"];
    assert!(list["summary"].as_str().unwrap().starts_with("The models there are"), "{list:#}");
}
