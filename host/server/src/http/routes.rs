//! Every route, and what it takes: the one table that the router, the guard in front of each handler and the OpenAPI
//! document are made from. What is not in it is not served.
//!
//! A verb of one thing shares the thing's path up to a colon: `/v1/jobs/{jobId}:cancel`. The router cannot split a path
//! segment, so the verbs of a path are served by one handler that tells them apart.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use lucius_engine::access::Scope;
use tower::ServiceExt as _;

use super::access::{Guard, Needs, guard};
use super::around::RouteName;
use super::problem::Problem;
use super::{
    Shared, audit, callbacks, commands, console, dead_letters, decisions, events, gates, health,
    hosts, jobs, keys, metrics, openapi, redrives, registry,
};

/// One method of one path.
pub struct Route {
    /// Which method; a GET serves HEAD, too.
    pub method: Method,
    /// The path with its parameters; the verb of a thing after a colon.
    pub path: &'static str,
    /// What it takes to be let in.
    pub needs: Needs,
    handler: MethodRouter<Arc<Shared>>,
}

/// All of them, but for those of the embedded bus.
pub fn table() -> Vec<Route> {
    let read = Needs::Scope(Scope::Read);
    let monitor = Needs::Scope(Scope::Monitor);
    let admin = Needs::Scope(Scope::Admin);
    vec![
        Route::post(
            "/v1/commands",
            Needs::Scope(Scope::Submit),
            post(commands::submit),
        ),
        Route::get("/v1/jobs", read, get(jobs::list)),
        Route::get("/v1/jobs/{jobId}", read, get(jobs::show)),
        Route::post(
            "/v1/jobs/{jobId}:cancel",
            Needs::Scope(Scope::Cancel),
            post(jobs::cancel),
        ),
        Route::post(
            "/v1/jobs/{jobId}:redrive",
            Needs::Scope(Scope::Submit),
            post(jobs::redrive),
        ),
        Route::post("/v1/jobs/{jobId}:migrate", admin, post(decisions::migrate)),
        Route::get("/v1/jobs/{jobId}/decisions", read, get(decisions::list)),
        Route::get("/v1/jobs/{jobId}/steps", read, get(jobs::steps)),
        Route::get("/v1/jobs/{jobId}/events", read, get(events::events)),
        Route::post(
            "/v1/callbacks/ack",
            Needs::AttemptToken,
            post(callbacks::ack),
        ),
        Route::post(
            "/v1/callbacks/heartbeat",
            Needs::AttemptToken,
            post(callbacks::heartbeat),
        ),
        Route::post(
            "/v1/callbacks/result",
            Needs::AttemptToken,
            post(callbacks::result),
        ),
        Route::get("/v1/dead-letters", admin, get(dead_letters::list)),
        Route::get("/v1/redrives", admin, get(redrives::list)),
        Route::post("/v1/redrives", admin, post(redrives::begin)),
        Route::get("/v1/redrives/{redriveId}", admin, get(redrives::show)),
        Route::post(
            "/v1/redrives/{redriveId}:cancel",
            admin,
            post(redrives::cancel),
        ),
        Route::get("/v1/registry", monitor, get(registry::show)),
        Route::post("/v1/registry:plan", admin, post(registry::plan)),
        Route::post("/v1/registry:reload", admin, post(registry::reload)),
        Route::post("/v1/registry:rollback", admin, post(registry::rollback)),
        Route::post("/v1/registry:approve", admin, post(registry::approve)),
        Route::post("/v1/registry:release", admin, post(registry::release)),
        Route::get("/v1/hosts", monitor, get(hosts::list)),
        Route::get("/console", Needs::Nothing, get(console::page)),
        Route::get("/console/{file}", Needs::Nothing, get(console::part)),
        Route::get("/v1/gates", monitor, get(gates::show)),
        Route::get("/v1/pauses", monitor, get(gates::pauses)),
        Route::post("/v1/pauses", admin, post(gates::pause)),
        Route::post("/v1/pauses:resume", admin, post(gates::resume)),
        Route::get("/v1/audit", admin, get(audit::list)),
        Route::get("/v1/keys", admin, get(keys::list)),
        Route::post("/v1/keys", admin, post(keys::create)),
        Route::post("/v1/keys/{keyId}:revoke", admin, post(keys::revoke)),
        Route::get("/healthz", Needs::Nothing, get(health::healthz)),
        Route::get("/readyz", Needs::Nothing, get(health::readyz)),
        Route::get("/metrics", monitor, get(metrics::show)),
        Route::get("/openapi.json", Needs::Nothing, get(openapi::show)),
    ]
}

impl Route {
    fn get(path: &'static str, needs: Needs, handler: MethodRouter<Arc<Shared>>) -> Self {
        let method = Method::GET;
        Self {
            method,
            path,
            needs,
            handler,
        }
    }

    fn post(path: &'static str, needs: Needs, handler: MethodRouter<Arc<Shared>>) -> Self {
        let method = Method::POST;
        Self {
            method,
            path,
            needs,
            handler,
        }
    }

    /// The thing and the verb of a path that has one.
    fn verb(&self) -> Option<(&'static str, &'static str)> {
        let at = self.path.rfind("}:")? + 1;
        Some((&self.path[..at], &self.path[at + 1..]))
    }
}

/// The router of the whole table.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    let mut things: Vec<Things> = Vec::new();
    for route in table() {
        let (
            verb,
            Route {
                method,
                path,
                needs,
                handler,
            },
        ) = (route.verb(), route);
        let gate = Guard {
            shared: Arc::clone(shared),
            needs,
            path,
        };
        let guarded = handler.route_layer(from_fn_with_state(gate, guard));
        let Some((thing, name)) = verb else {
            router = router.route(path, guarded);
            continue;
        };
        let handler = guarded.with_state(Arc::clone(shared));
        let verb = Verb {
            name,
            path,
            handler,
        };
        match things
            .iter_mut()
            .find(|it| it.path == thing && it.method == method)
        {
            Some(things) => things.verbs.push(verb),
            None => things.push(Things {
                path: thing,
                method,
                verbs: vec![verb],
            }),
        }
    }
    for Things {
        path,
        method,
        verbs,
    } in things
    {
        let Ok(filter) = MethodFilter::try_from(method) else {
            continue;
        };
        let handler = on(filter, dispatch).with_state(Arc::from(verbs));
        router = router.route(path, handler);
    }
    router.with_state(Arc::clone(shared))
}

/// The verbs of one path and method.
struct Things {
    path: &'static str,
    method: Method,
    verbs: Vec<Verb>,
}

#[derive(Clone)]
struct Verb {
    name: &'static str,
    path: &'static str,
    handler: MethodRouter,
}

async fn dispatch(
    State(verbs): State<Arc<[Verb]>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let Ok(parameters) = parameters else {
        return Problem::not_found().into_response();
    };
    let last = parameters.iter().last().map_or("", |(_, value)| value);
    let Some((_, asked)) = last.split_once(':') else {
        return Problem::method_not_allowed(Some("GET,HEAD")).into_response();
    };
    let Some(verb) = verbs.iter().find(|verb| verb.name == asked) else {
        return Problem::not_found().into_response();
    };
    let name = RouteName(verb.path);
    let mut response = match verb.handler.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    response.extensions_mut().insert(name);
    response
}
