//! The REST calls of Azure Service Bus, so that a worker is the same program on either bus.
//!
//! Every lock has an address of its own, the `Location` of the answer that gave it; settling is a verb on it. Where
//! Service Bus answers 403 (too large, quota), 404 (lock gone) and 410 (no such topic), so does this.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{NestedPath, Path, Query, Request, State};
use axum::http::header::{HOST, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http_body_util::LengthLimitError;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::bus::Settled;
use uuid::Uuid;

use crate::index::{Delivery, Place, Settle, Side, lock_end};
use crate::message::Outgoing;
use crate::rest::problem::Problem;
use crate::settings::Fault;
use crate::{EmbeddedBus, Hold};

mod feed;
mod headers;
mod problem;

/// How long a receive waits when it does not say, and at most.
const MAX_WAIT: Duration = Duration::from_secs(60);

type Bus = State<Arc<EmbeddedBus>>;
type Answer = Result<Response, Problem>;
/// The names in a path, in their order.
type Names = Result<Path<Vec<String>>, axum::extract::rejection::PathRejection>;
type Options = Result<Query<HashMap<String, String>>, axum::extract::rejection::QueryRejection>;

pub(crate) fn router(bus: Arc<EmbeddedBus>) -> Router {
    let head = || post(peek_lock).delete(receive_and_delete);
    let lock = || delete(complete).put(abandon).post(renew);
    // `{dead}` is `$DeadLetterQueue` in whatever case, as Service Bus takes it.
    Router::new()
        .route("/{topic}/messages", post(send))
        .route("/{topic}", get(feed::topic).put(feed::there))
        .route("/{topic}/subscriptions", get(feed::subscriptions))
        .route(
            "/{topic}/subscriptions/{sub}",
            get(feed::subscription).put(feed::there),
        )
        .route("/{topic}/subscriptions/{sub}/rules", get(feed::rules))
        .route("/{topic}/subscriptions/{sub}/messages/head", head())
        .route("/{topic}/subscriptions/{sub}/messages/{id}/{token}", lock())
        .route("/{topic}/subscriptions/{sub}/{dead}/messages/head", head())
        .route(
            "/{topic}/subscriptions/{sub}/{dead}/messages/{id}/{token}",
            lock(),
        )
        .fallback(async || Problem::not_found("the bus has no such address"))
        .with_state(bus)
}

async fn send(State(bus): Bus, names: Names, request: Request) -> Answer {
    let names = texts(names)?;
    let lane = lane(names.first())?;
    let (parts, body) = request.into_parts();
    let (service, message_id, head) = headers::read(&parts.headers)?;
    let limit = bus.shared.settings.max_message_bytes;
    let body = to_bytes(body, limit).await.map_err(|e| unread(&e, limit))?;
    let mut outgoing = Outgoing::new(lane, &service, head, body)?;
    outgoing.message_id = message_id;
    bus.send(outgoing).await?;
    Ok(empty(StatusCode::CREATED))
}

async fn peek_lock(
    State(bus): Bus,
    names: Names,
    options: Options,
    nested: Result<NestedPath, axum::extract::rejection::NestedPathRejection>,
    request: Request,
) -> Answer {
    let place = place(&bus, &texts(names)?, 2)?;
    let wait = wait(options)?;
    let Some((delivery, content)) = bus.receive(place, Hold::Lock, wait).await? else {
        return Ok(empty(StatusCode::NO_CONTENT));
    };
    let prefix = nested.as_ref().map_or("", NestedPath::as_str);
    let location = location(request.headers(), prefix, request.uri().path(), &delivery)?;
    let locked_until = locked_until(&bus);
    let mut response = Response::new(Body::from(content.body.clone()));
    *response.status_mut() = StatusCode::CREATED;
    headers::write(
        response.headers_mut(),
        &delivery,
        &content.head,
        Some(locked_until),
    )?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

async fn receive_and_delete(State(bus): Bus, names: Names, options: Options) -> Answer {
    let place = place(&bus, &texts(names)?, 2)?;
    let wait = wait(options)?;
    let Some((delivery, content)) = bus.receive(place, Hold::Delete, wait).await? else {
        return Ok(empty(StatusCode::NO_CONTENT));
    };
    let mut response = Response::new(Body::from(content.body.clone()));
    headers::write(response.headers_mut(), &delivery, &content.head, None)?;
    Ok(response)
}

async fn complete(State(bus): Bus, names: Names) -> Answer {
    settle(&bus, &texts(names)?, Settle::Complete)
}

async fn abandon(State(bus): Bus, names: Names) -> Answer {
    settle(&bus, &texts(names)?, Settle::Abandon)
}

async fn renew(State(bus): Bus, names: Names) -> Answer {
    let until = lock_end(Instant::now(), bus.shared.settings.lock_duration);
    let mut response = settle(&bus, &texts(names)?, Settle::Renew(until))?;
    headers::write_lock_end(response.headers_mut(), locked_until(&bus))?;
    Ok(response)
}

fn settle(bus: &EmbeddedBus, names: &[String], how: Settle) -> Answer {
    let gone = || Problem::not_found("the lock is gone; someone else may have the message");
    let place = place(bus, names, 4)?;
    let [.., id, token] = names else {
        return Err(gone());
    };
    let token = Uuid::try_parse(token).map_err(|_| gone())?;
    match bus
        .shared
        .change(|index| index.settle(place, id, token, how))
    {
        Settled::Done => Ok(empty(StatusCode::OK)),
        Settled::LockLost => Err(gone()),
    }
}

fn texts(names: Names) -> Result<Vec<String>, Problem> {
    names
        .map(|Path(names)| names)
        .map_err(|e| Problem::bad_request(e.body_text()))
}

/// The lane of a topic; Service Bus says 410 for a topic that does not exist.
fn lane(topic: Option<&String>) -> Result<Lane, Problem> {
    let topic = topic.map_or("", String::as_str);
    Lane::all()
        .find(|lane| lane.topic().eq_ignore_ascii_case(topic))
        .ok_or_else(|| Problem::no_topic(topic))
}

/// The line that a path names. One more name than `active` means the dead-letter queue.
fn place(bus: &EmbeddedBus, names: &[String], active: usize) -> Result<Place, Problem> {
    let lane = lane(names.first())?;
    let service = names.get(1).map_or("", String::as_str);
    let side = match names.get(2).filter(|_| names.len() > active) {
        None => Side::Active,
        Some(name) if name.eq_ignore_ascii_case("$DeadLetterQueue") => Side::Dead,
        Some(name) => {
            let text = format!("a subscription has $DeadLetterQueue below it, and no {name}");
            return Err(Problem::not_found(text));
        }
    };
    Ok((bus.queue(lane, service)?, side))
}

/// How long to wait: `timeout` in seconds, other options are Service Bus's and mean nothing here.
fn wait(options: Options) -> Result<Duration, Problem> {
    let Query(options) = options.map_err(|e| Problem::bad_request(e.body_text()))?;
    let Some(text) = options.get("timeout") else {
        return Ok(MAX_WAIT);
    };
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    let seconds =
        seconds.ok_or_else(|| Problem::bad_request("timeout is a number of seconds, 0 to 60"))?;
    Ok(Duration::try_from_secs_f64(seconds).map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT)))
}

/// The address of a lock: that of the receive with the last part replaced, absolute when the caller said to whom it
/// speaks.
fn location(
    headers: &HeaderMap,
    prefix: &str,
    path: &str,
    delivery: &Delivery,
) -> Result<HeaderValue, Problem> {
    let messages = path.trim_end_matches("head");
    let origin = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .map_or_else(String::new, |host| {
            let forwarded = headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
            let scheme = if forwarded == Some(b"https") {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{host}")
        });
    let (sequence, token) = (delivery.sequence, delivery.token);
    HeaderValue::try_from(format!("{origin}{prefix}{messages}{sequence}/{token}"))
        .map_err(|e| Problem::bad_request(format!("the Host header makes no address: {e}")))
}

fn locked_until(bus: &EmbeddedBus) -> Timestamp {
    let duration = bus.shared.settings.lock_duration.as_millis();
    bus.shared
        .clock
        .now()
        .plus_ms(u64::try_from(duration).unwrap_or(u64::MAX))
}

fn unread(error: &axum::Error, limit: usize) -> Problem {
    if error
        .source()
        .is_some_and(|source| source.is::<LengthLimitError>())
    {
        return Fault::TooLarge { limit }.into();
    }
    Problem::bad_request(format!("the body is cut short: {error}"))
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
