//! JWTs of one issuer.

use std::sync::Arc;

use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lucius_engine::access::Scope;
use lucius_ports::clock::Clock as _;
use lucius_server::http::Settings;
use lucius_server::http::access::Access;
use lucius_server::http::access::jwt::{SignedWith, Trust, Unusable, Verifier};
use serde_json::{Value, json};

use crate::host::{Host, command, json_request, limits};

/// An Ed25519 key in PKCS #8: what every such key begins with, then the seed.
fn key(seed: u8) -> EncodingKey {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend([seed; 32]);
    EncodingKey::from_ed_der(&der)
}

fn jwk(seed: u8, kid: &str) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(&key(seed), Algorithm::EdDSA).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    jwk
}

fn trust(folder: &tempfile::TempDir, keys: &Value) -> Trust {
    let path = folder.path().join("keys.json");
    std::fs::write(&path, keys.to_string()).unwrap();
    Trust {
        algorithm: SignedWith::EdDSA,
        issuer: "https://issuer.example".to_owned(),
        audience: "lucius".to_owned(),
        keys: path,
    }
}

async fn host() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({ "keys": [jwk(1, "first"), jwk(2, "second")] });
    let verifier = Verifier::new(&trust(&folder, &keys)).unwrap();
    let settings = Settings {
        access: Access::Tokens(Arc::new(verifier)),
        ..Settings::default()
    };
    Host::with(limits(), settings).await
}

fn claims(now: i64) -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "lucius", "sub": "ada", "exp": now + 60,
        "scope": "read submit openid", "tenants": ["acme"],
    })
}

fn token(seed: u8, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, &key(seed)).unwrap()
}

fn list() -> Request<axum::body::Body> {
    let mut request = json_request("/v1/jobs", "");
    *request.method_mut() = Method::GET;
    request
}

/// The claims with one of them changed, or left out when it is null.
fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    if let Value::Object(members) = &mut claims {
        members.retain(|_, value| !value.is_null());
    }
    claims
}

#[tokio::test]
async fn a_token_of_the_issuer_does_what_it_says_for_its_tenants() {
    let host = host().await;
    let now = host.clock.now().0 / 1_000;
    for (seed, kid) in [(1, "first"), (2, "second")] {
        let token = token(seed, Some(kid), &claims(now));
        let submitted = host.as_who(&token, json_request("/v1/commands", command().to_string()));
        assert_eq!(submitted.await.status, 202);
        let listed = host.as_who(&token, list()).await.json();
        assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
        let mut cancel = json_request("/v1/keys", "{}");
        *cancel.method_mut() = Method::POST;
        host.as_who(&token, cancel)
            .await
            .problem(403, "SCOPE_MISSING");
    }
    let other = with(claims(now), "tenants", json!(["other"]));
    let other = token(1, Some("first"), &other);
    let submitted = host.as_who(&other, json_request("/v1/commands", command().to_string()));
    submitted.await.problem(403, "TENANT_NOT_ALLOWED");
    let key = host
        .key(&[Scope::Read], crate::credentials::only("acme"))
        .await;
    assert_eq!(host.as_who(&key, list()).await.status, 200);
}

#[tokio::test]
async fn a_token_that_is_not_exactly_what_is_trusted_opens_nothing() {
    let host = host().await;
    let now = host.clock.now().0 / 1_000;
    let good = claims(now);
    let wrong = [
        with(good.clone(), "iss", json!("https://other.example")),
        with(good.clone(), "aud", json!("another service")),
        with(good.clone(), "exp", json!(now - 31)),
        with(good.clone(), "exp", json!((now + 60).to_string())),
        with(good.clone(), "nbf", json!(now + 60)),
        with(good.clone(), "iss", Value::Null),
        with(good.clone(), "aud", Value::Null),
        with(good.clone(), "exp", Value::Null),
        with(good.clone(), "sub", Value::Null),
        with(good.clone(), "scope", json!("admin")),
    ];
    for claims in &wrong {
        let token = token(1, Some("first"), claims);
        let answer = host.as_who(&token, list()).await;
        assert_eq!(answer.status, 401, "{claims}");
        answer.problem(401, "CREDENTIAL_REFUSED");
    }
    let unsigned = {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.",
            part(json!({ "alg": "none", "kid": "first" })),
            part(good.clone())
        )
    };
    let shared = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("first".to_owned());
        // The public key as a shared secret: the classic mix-up.
        let public = serde_json::to_value(jwk(1, "first")).unwrap();
        let public = URL_SAFE_NO_PAD
            .decode(public["x"].as_str().unwrap())
            .unwrap();
        encode(&header, &good, &EncodingKey::from_secret(&public)).unwrap()
    };
    let whole = token(1, Some("first"), &good);
    let cut = whole[..whole.len() - 4].to_owned();
    for bad in [
        token(1, None, &good),
        token(1, Some("second"), &good),
        token(3, Some("third"), &good),
        unsigned,
        shared,
        cut,
        "a.b.c".to_owned(),
        "x".repeat(9_000),
    ] {
        host.as_who(&bad, list())
            .await
            .problem(401, "CREDENTIAL_REFUSED");
    }
    let submits = token(1, Some("first"), &with(good, "scope", json!("submit")));
    let answer = host.as_who(&submits, list()).await;
    answer.problem(403, "SCOPE_MISSING");
}

#[tokio::test]
async fn keys_that_cannot_be_trusted_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut unnamed = serde_json::to_value(jwk(1, "x")).unwrap();
    unnamed.as_object_mut().unwrap().remove("kid");
    let shared = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0" });
    for keys in [
        json!({ "keys": [] }),
        json!({ "keys": [unnamed] }),
        json!({ "keys": [shared] }),
        json!({ "keys": [jwk(1, "same"), jwk(2, "same")] }),
        json!("no set"),
    ] {
        let refused = Verifier::new(&trust(&folder, &keys)).unwrap_err();
        assert!(matches!(refused, Unusable::Keys { .. }), "{keys}");
    }
    let mut unset = trust(&folder, &json!({ "keys": [jwk(1, "a")] }));
    unset.audience.clear();
    assert!(matches!(Verifier::new(&unset), Err(Unusable::NotSet)));
}
