//! API keys, shared access signatures and JWTs; and that no tenant reaches another's jobs.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use lucius_domain::id::TenantId;
use lucius_domain::time::Timestamp;
use lucius_engine::access::keys::{FRESH_MS, Grant};
use lucius_engine::access::{Scope, Tenants};
use lucius_ports::clock::Clock as _;
use lucius_server::http::access::{Access, Needs};
use lucius_server::http::{Settings, routes};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::host::{Answer, Host, command, command_with, json_request, limits};

/// What a tenant's own key has.
const OF_A_TENANT: [Scope; 3] = [Scope::Submit, Scope::Read, Scope::Cancel];

pub(crate) async fn host_with_keys() -> Host {
    let settings = Settings {
        access: Access::Keys,
        ..Settings::default()
    };
    Host::with(limits(), settings).await
}

pub(crate) fn only(tenant: &str) -> Tenants {
    Tenants::Only(BTreeSet::from([TenantId::from(tenant)]))
}

impl Host {
    /// A new key, as its client has it.
    pub(crate) async fn key(&self, scopes: &[Scope], tenants: Tenants) -> String {
        self.key_until(scopes, tenants, None).await
    }

    async fn key_until(
        &self,
        scopes: &[Scope],
        tenants: Tenants,
        expires_at: Option<Timestamp>,
    ) -> String {
        let grant = Grant {
            label: "test".to_owned(),
            tenants,
            scopes: scopes.iter().copied().collect(),
            services: BTreeSet::new(),
            expires_at,
        };
        // Another one each time: the clock goes on with every look.
        let mut random = [7; 40];
        random[..8].copy_from_slice(&self.clock.now().0.to_be_bytes());
        let issued = self.engine.keys().issue(grant, "test", &random).await;
        issued.expect("a key").text
    }

    pub(crate) async fn as_who(&self, key: &str, mut request: Request<Body>) -> Answer {
        let value = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        self.send(request).await
    }
}

fn request(method: &Method, path: &str, body: &Value) -> Request<Body> {
    let mut request = json_request(path, body.to_string());
    *request.method_mut() = method.clone();
    request
}

/// A route as the table has it, with a job and a key in the place of their names.
fn filled(path: &str, job: &str) -> String {
    path.replace("{jobId}", job)
        .replace("{keyId}", "0123456789abcdef")
        .replace("{file}", "console.js")
}

#[tokio::test]
async fn no_route_shows_or_changes_a_job_of_another_tenant() {
    let host = host_with_keys().await;
    let acme = host.key(&OF_A_TENANT, only("acme")).await;
    let other = host.key(&OF_A_TENANT, only("other")).await;
    let submitted = host.as_who(&acme, json_request("/v1/commands", command().to_string()));
    let job = submitted.await.json()["jobId"].as_str().unwrap().to_owned();

    for route in routes::table() {
        let name = format!("{} {}", route.method, route.path);
        let path = filled(route.path, &job);
        let answer = host
            .as_who(&other, request(&route.method, &path, &command()))
            .await;
        match (route.needs, route.path) {
            (Needs::Nothing, _) => assert!(!answer.text.contains(&job), "{name}"),
            (Needs::AttemptToken, _) => {
                let status = answer.status.as_u16();
                assert!(matches!(status, 401 | 403 | 404 | 422), "{name} {answer:?}");
            }
            (Needs::Scope(Scope::Admin | Scope::Monitor | Scope::Work) | Needs::Bus, _) => {
                answer.problem(403, "SCOPE_MISSING");
            }
            (Needs::Scope(_), path) if path.contains("{jobId}") => {
                answer.problem(404, "JOB_NOT_FOUND");
            }
            (Needs::Scope(_), "/v1/commands") => {
                answer.problem(403, "TENANT_NOT_ALLOWED");
            }
            (Needs::Scope(_), "/v1/jobs") => assert_eq!(answer.json()["jobs"], json!([])),
            (Needs::Scope(_), path) => panic!("{path} is new: say here what another tenant sees"),
        }
    }
    let listed = host.as_who(
        &other,
        request(&Method::GET, "/v1/jobs?tenant_id=acme", &Value::Null),
    );
    listed.await.problem(403, "TENANT_NOT_ALLOWED");

    let own = format!("/v1/jobs/{job}");
    let shown = host
        .as_who(&acme, request(&Method::GET, &own, &Value::Null))
        .await;
    assert_eq!(shown.json()["state"], "QUEUED", "{shown:?}");
}

#[tokio::test]
async fn a_route_is_open_to_its_own_scope_and_to_admins_alone() {
    let host = host_with_keys().await;
    let mut keys = Vec::new();
    for scope in Scope::ALL {
        keys.push((scope, host.key(&[scope], Tenants::All).await));
    }
    for route in routes::table() {
        let Needs::Scope(needed) = route.needs else {
            continue;
        };
        let path = filled(route.path, &uuid::Uuid::nil().to_string());
        let bare = host.send(request(&route.method, &path, &json!({}))).await;
        let problem = bare.problem(401, "CREDENTIAL_MISSING");
        assert_eq!(bare.header("www-authenticate"), "Bearer", "{problem}");
        for (scope, key) in &keys {
            let sent = request(&route.method, &path, &json!({}));
            let status = host.as_who(key, sent).await.status.as_u16();
            let is_let_in = *scope == needed || *scope == Scope::Admin;
            assert_eq!(
                status != 403,
                is_let_in,
                "{scope} on {}: {status}",
                route.path
            );
            assert_ne!(status, 401, "{}", route.path);
        }
    }
}

#[tokio::test]
async fn a_credential_that_is_wrong_expired_or_revoked_opens_nothing() {
    let host = host_with_keys().await;
    let ask = || request(&Method::GET, "/v1/jobs", &Value::Null);
    let good = host.key(&[Scope::Read], only("acme")).await;
    assert_eq!(host.as_who(&good, ask()).await.status, 200);

    let (front, secret) = good.rsplit_once('.').unwrap();
    let first = if secret.starts_with('B') { "C" } else { "B" };
    let wrong = format!("{front}.{first}{}", &secret[1..]);
    let unknown = format!("lucius.ffffffffffffffff.{secret}");
    for key in [&*wrong, &unknown, "lucius", "lucius..", "x.y.z"] {
        host.as_who(key, ask())
            .await
            .problem(401, "CREDENTIAL_REFUSED");
    }
    let mut basic = ask();
    let value = format!("Basic {good}").parse().unwrap();
    basic.headers_mut().insert("authorization", value);
    host.send(basic).await.problem(401, "CREDENTIAL_MISSING");

    let soon = host.clock.now().plus_ms(60_000);
    let brief = host
        .key_until(&[Scope::Read], only("acme"), Some(soon))
        .await;
    assert_eq!(host.as_who(&brief, ask()).await.status, 200);
    host.clock.advance(60_000);
    host.as_who(&brief, ask())
        .await
        .problem(401, "CREDENTIAL_REFUSED");

    // Two live keys of one tenant: the old one ends, the new one goes on.
    let next = host.key(&[Scope::Read], only("acme")).await;
    let admin = host.key(&[Scope::Admin], Tenants::All).await;
    let id = front.strip_prefix("lucius.").unwrap();
    let revoke = request(
        &Method::POST,
        &format!("/v1/keys/{id}:revoke"),
        &Value::Null,
    );
    assert_eq!(host.as_who(&admin, revoke).await.json()["state"], "revoked");
    host.as_who(&good, ask())
        .await
        .problem(401, "CREDENTIAL_REFUSED");
    assert_eq!(host.as_who(&next, ask()).await.status, 200);
}

#[tokio::test]
async fn a_key_that_another_host_revoked_is_refused_here_a_second_later() {
    let host = host_with_keys().await;
    let key = host.key(&[Scope::Read], only("acme")).await;
    let ask = || request(&Method::GET, "/v1/jobs", &Value::Null);
    assert_eq!(host.as_who(&key, ask()).await.status, 200);
    let elsewhere = lucius_engine::access::keys::Keys::new(
        std::sync::Arc::clone(&host.engine.ports().records),
        std::sync::Arc::clone(&host.engine.ports().clock),
        &[7; 32],
    );
    let id = elsewhere.list().await.unwrap()[0].id.clone();
    elsewhere.revoke(&id).await.unwrap();
    host.clock.advance(i64::try_from(FRESH_MS).unwrap());
    host.as_who(&key, ask())
        .await
        .problem(401, "CREDENTIAL_REFUSED");
}

#[tokio::test]
async fn without_the_store_nobody_is_let_in_and_everybody_is_told_to_come_again() {
    let host = host_with_keys().await;
    let key = host.key(&[Scope::Read], only("acme")).await;
    host.records.fail_next();
    let ask = request(&Method::GET, "/v1/jobs", &Value::Null);
    host.as_who(&key, ask)
        .await
        .problem(503, "LEDGER_UNAVAILABLE");
}

#[tokio::test]
async fn a_key_that_the_api_makes_works_and_its_secret_is_shown_once() {
    let host = host_with_keys().await;
    let admin = host.key(&[Scope::Admin], Tenants::All).await;
    let wanted = json!({ "label": "scanner", "tenants": ["acme"], "scopes": ["submit", "read"] });
    let mut create = request(&Method::POST, "/v1/keys", &wanted);
    create
        .headers_mut()
        .insert("x-reason", "a new scanner".parse().unwrap());
    let made = host.as_who(&admin, create).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let secret = made["secret"].as_str().unwrap();
    let submitted = host.as_who(secret, json_request("/v1/commands", command().to_string()));
    assert_eq!(submitted.await.status, 202);

    let listed = host
        .as_who(&admin, request(&Method::GET, "/v1/keys", &Value::Null))
        .await;
    assert_eq!(listed.json()["keys"].as_array().unwrap().len(), 2);
    let random = secret.rsplit('.').next().unwrap();
    assert!(!listed.text.contains(random));
    let trail = host
        .as_who(&admin, request(&Method::GET, "/v1/audit", &Value::Null))
        .await;
    assert!(!trail.text.contains(random));
    let entry = &trail.json()["entries"][0];
    assert_eq!(entry["action"], "POST /v1/keys");
    assert_eq!(entry["reason"], "a new scanner");
    assert_eq!(entry["outcome"], 201);
    assert_eq!(
        entry["detail"],
        format!("key {}", made["id"].as_str().unwrap())
    );
    assert!(
        entry["who"].as_str().unwrap().starts_with("key:"),
        "{entry}"
    );

    for wrong in [
        json!({ "scopes": [] }),
        json!({ "scopes": ["root"], "tenants": ["acme"] }),
        json!({ "scopes": ["read"] }),
        json!({ "scopes": ["admin"], "tenants": ["acme"] }),
        json!({ "scopes": ["read"], "tenants": ["acme"], "expires_at": "soon" }),
        json!({ "scopes": ["read"], "tenants": ["acme"], "tenant": "acme" }),
        json!([]),
    ] {
        let refused = host.as_who(&admin, request(&Method::POST, "/v1/keys", &wrong));
        refused.await.problem(422, "INVALID_KEY");
    }
}

#[tokio::test]
async fn what_an_operator_does_is_on_record_before_it_is_done_or_not_done_at_all() {
    let host = host_with_keys().await;
    let admin = host.key(&[Scope::Admin], Tenants::All).await;
    let acme = host.key(&OF_A_TENANT, only("acme")).await;
    let job = host.as_who(&acme, json_request("/v1/commands", command().to_string()));
    let job = job.await.json()["jobId"].as_str().unwrap().to_owned();
    let cancel = format!("/v1/jobs/{job}:cancel");

    // The key is read again by then, so what fails is the entry.
    let ask = request(&Method::GET, "/v1/jobs", &Value::Null);
    assert_eq!(host.as_who(&admin, ask).await.status, 200);
    host.records.fail_next();
    let refused = host.as_who(&admin, request(&Method::POST, &cancel, &Value::Null));
    refused.await.problem(503, "LEDGER_UNAVAILABLE");
    let path = format!("/v1/jobs/{job}");
    let shown = host
        .as_who(&acme, request(&Method::GET, &path, &Value::Null))
        .await;
    assert_eq!(shown.json()["state"], "QUEUED");

    let done = host
        .as_who(&admin, request(&Method::POST, &cancel, &Value::Null))
        .await;
    assert_eq!(done.status, 202, "{done:?}");
    let again = host
        .as_who(&admin, request(&Method::POST, &cancel, &Value::Null))
        .await;
    again.problem(409, "JOB_TERMINAL");
    let trail = host.as_who(
        &admin,
        request(&Method::GET, "/v1/audit?limit=1", &Value::Null),
    );
    let page = trail.await.json();
    assert_eq!(page["entries"][0]["outcome"], 409);
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/v1/audit?limit=9&cursor={cursor}");
    let page = host
        .as_who(&admin, request(&Method::GET, &path, &Value::Null))
        .await
        .json();
    assert_eq!(page["entries"][0]["outcome"], 202);
    assert_eq!(page["entries"][0]["target"], cancel.as_str());
    assert_eq!(page["next_cursor"], Value::Null);
}

/// What a client of Azure Service Bus sends.
fn signed(key: &str, rule: &str, resource: &str, expiry: i64) -> String {
    let escaped: String = url::form_urlencoded::byte_serialize(resource.as_bytes()).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{escaped}\n{expiry}").as_bytes());
    let tag = STANDARD.encode(mac.finalize().into_bytes());
    let tag: String = url::form_urlencoded::byte_serialize(tag.as_bytes()).collect();
    format!("SharedAccessSignature sr={escaped}&sig={tag}&se={expiry}&skn={rule}")
}

#[tokio::test]
async fn the_bus_takes_keys_and_signatures_of_workers_and_nothing_else() {
    let host = host_with_keys().await;
    let send = || request(&Method::POST, "/bus/global-bus-p0/messages", &json!({}));
    let head = "/bus/global-bus-p0/subscriptions/platform-ocr/messages/head";
    let receive = || request(&Method::POST, head, &json!({}));
    host.send(receive())
        .await
        .problem(401, "CREDENTIAL_MISSING");
    let tenant = host.key(&OF_A_TENANT, Tenants::All).await;
    host.as_who(&tenant, receive())
        .await
        .problem(403, "SCOPE_MISSING");

    let worker = host.key(&[Scope::Work], only("any")).await;
    assert_eq!(host.as_who(&worker, receive()).await.text, "message");
    host.as_who(&worker, send())
        .await
        .problem(403, "SCOPE_MISSING");
    let admin = host.key(&[Scope::Admin], Tenants::All).await;
    assert_eq!(host.as_who(&admin, send()).await.text, "bus");

    let id = worker.split('.').nth(1).unwrap();
    let keys = host.engine.keys();
    let bus_key = keys.bus_key(&lucius_engine::access::keys::KeyId::parse(id).unwrap());
    let later = host.clock.now().0 / 1_000 + 600;
    let resource = "https://lucius.servicebus.windows.net/global-bus-p0";
    let sent = |authorization: String| {
        let mut request = receive();
        let value = authorization.parse().unwrap();
        request.headers_mut().insert("authorization", value);
        host.send(request)
    };
    let received = sent(signed(&bus_key, id, resource, later)).await;
    assert_eq!(received.text, "message");
    for wrong in [
        signed("another key", id, resource, later),
        signed(&bus_key, id, resource, later - 601),
        signed(
            &bus_key,
            id,
            "https://lucius.servicebus.windows.net/global-bus-p1",
            later,
        ),
        signed(&bus_key, "0123456789abcdef", resource, later),
    ] {
        sent(wrong).await.problem(401, "CREDENTIAL_REFUSED");
    }
    keys.revoke(&lucius_engine::access::keys::KeyId::parse(id).unwrap())
        .await
        .unwrap();
    let ended = sent(signed(&bus_key, id, resource, later)).await;
    ended.problem(401, "CREDENTIAL_REFUSED");
}

#[tokio::test]
async fn a_key_of_several_tenants_names_the_one_it_lists() {
    let host = host_with_keys().await;
    let both = Tenants::Only([TenantId::from("acme"), TenantId::from("other")].into());
    let key = host.key(&OF_A_TENANT, both).await;
    for tenant in ["acme", "other"] {
        let body = command_with("tenant_id", tenant).to_string();
        let submitted = host.as_who(&key, json_request("/v1/commands", body)).await;
        assert_eq!(submitted.status, 202, "{submitted:?}");
    }
    let all = host
        .as_who(&key, request(&Method::GET, "/v1/jobs", &Value::Null))
        .await;
    all.problem(400, "INVALID_QUERY");
    let one = request(&Method::GET, "/v1/jobs?tenant_id=other", &Value::Null);
    assert_eq!(
        host.as_who(&key, one).await.json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn callbacks_need_the_token_of_their_attempt_whatever_key_comes_with_them() {
    let host = host_with_keys().await;
    let admin = host.key(&[Scope::Admin], Tenants::All).await;
    let submitted = host.as_who(&admin, json_request("/v1/commands", command().to_string()));
    let job = submitted.await.json()["jobId"].as_str().unwrap().to_owned();
    let directive = host.directive(&job).await;
    let ack = crate::host::callback_request("ack", &directive, json!({ "status": "ACKED" }), None);
    host.as_who(&admin, ack).await.problem(403, "TOKEN_REFUSED");
    let counted = host
        .callback("ack", &directive, json!({ "status": "ACKED" }))
        .await;
    assert_eq!(counted.json(), json!({ "applied": true }));
}
