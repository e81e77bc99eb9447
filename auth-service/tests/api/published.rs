//! What the service publishes of itself.

use auth_service::doors::{described, document};
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::Value;
use shared::doors::openapi::descriptor_set;

use crate::http::http;
use crate::support::*;

#[tokio::test]
async fn the_document_that_is_served_without_a_credential_is_the_one_that_the_command_prints() {
    let server = start().await;
    let served = http(server.address, "GET /openapi.json", &[], "").await;
    assert_eq!((served.status, served.header("content-type")), (200, "application/json"));
    assert_eq!(served.json(), document().unwrap());
}

#[tokio::test]
async fn every_route_and_every_unary_method_is_in_the_document() {
    let document = document().unwrap();
    let paths = document["paths"].as_object().unwrap();
    for route in described().unwrap().iter().flat_map(|door| &door.routes) {
        let operation = &paths[route.path][route.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["summary"].as_str(), Some(route.summary), "{route:?}");
    }
    let set = FileDescriptorSet::decode(shared::proto::FILE_DESCRIPTOR_SET).unwrap();
    for file in set.file.iter().filter(|file| file.package() == "tollgate.auth.v1") {
        for service in &file.service {
            for method in service.method.iter().filter(|method| !method.server_streaming()) {
                let path = format!("/tollgate.auth.v1.{}/{}", service.name(), method.name());
                assert!(paths[&path]["post"]["requestBody"].is_object(), "{path}");
            }
        }
    }
    let token = &document["paths"]["/token"]["post"];
    assert_eq!(token["security"], Value::Array(Vec::new()));
    let form = token["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["$ref"].as_str().unwrap();
    let schema = &document["components"]["schemas"][form.rsplit('/').next().unwrap()];
    assert_eq!(schema["required"], serde_json::json!(["grant_type"]));
    let errors = &document["components"]["responses"]["OAuth2.429"]["content"]["application/json"]["examples"]["RATE_LIMITED"]["value"];
    assert_eq!(errors["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn the_descriptors_are_served_without_a_credential() {
    let server = start().await;
    let channel = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut channel = channel;
    tokio::io::AsyncWriteExt::write_all(&mut channel, b"GET /descriptors.pb HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut channel, &mut answer).await.unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(&answer[head + 4..], descriptor_set());
}
