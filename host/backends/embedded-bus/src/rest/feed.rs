//! As much of Service Bus's management calls as an operator's tools look at: what a topic, a subscription and its filter
//! are, and the feed of a topic's subscriptions with how many messages each holds. All of them are there from the start,
//! so making one is answered as for one that exists.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};

use super::{Answer, Bus, Names, Options, lane, place, texts};
use crate::rest::problem::Problem;
use crate::stats::Subscription;

/// The most entries of one answer, as in Service Bus.
const MOST: usize = 100;
/// What makes a filter one in SQL.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const SCHEMA: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";

/// `$skip` and `$top` choose a part of the feed.
pub(super) async fn subscriptions(State(bus): Bus, names: Names, options: Options) -> Answer {
    let lane = lane(texts(names)?.first())?;
    let options = options.map_err(|error| Problem::bad_request(error.body_text()))?;
    let number = |name: &str, unless: usize| match options.get(name) {
        None => Ok(unless),
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request(format!("{name} is a whole number"))),
    };
    let (skip, top) = (number("$skip", 0)?, number("$top", MOST)?.min(MOST));
    let all = bus.stats().subscriptions.into_iter();
    let of_lane = all.filter(|it| it.lane == lane).skip(skip).take(top);
    let entries: String = of_lane.map(|it| entry(&it)).collect();
    Ok(atom(&format!(
        "<feed xmlns=\"http://www.w3.org/2005/Atom\">{entries}</feed>"
    )))
}

/// What a topic is.
pub(super) async fn topic(names: Names) -> Answer {
    let name = lane(texts(names)?.first())?.topic();
    // A copy is noticed for as long as the first is in the subscription, whatever the window.
    let content = format!(
        "<TopicDescription xmlns=\"{SCHEMA}\"><RequiresDuplicateDetection>true</RequiresDuplicateDetection></TopicDescription>"
    );
    Ok(atom(&described(&name, &content)))
}

/// What a subscription is.
pub(super) async fn subscription(State(bus): Bus, names: Names) -> Answer {
    let names = texts(names)?;
    place(&bus, &names, 2)?;
    let settings = &bus.shared.settings;
    let content = format!(
        "<SubscriptionDescription xmlns=\"{SCHEMA}\"><LockDuration>{}</LockDuration>\
         <RequiresSession>false</RequiresSession><MaxDeliveryCount>{}</MaxDeliveryCount></SubscriptionDescription>",
        iso(settings.lock_duration),
        settings.max_delivery_count
    );
    Ok(atom(&described(&names[1], &content)))
}

/// Which messages a subscription gets.
pub(super) async fn rules(State(bus): Bus, names: Names) -> Answer {
    let names = texts(names)?;
    place(&bus, &names, 2)?;
    let content = format!(
        "<RuleDescription xmlns=\"{SCHEMA}\" xmlns:i=\"{INSTANCE}\"><Filter i:type=\"SqlFilter\">\
         <SqlExpression>service = '{}'</SqlExpression></Filter></RuleDescription>",
        names[1]
    );
    let rule = described("service", &content);
    Ok(atom(&format!(
        "<feed xmlns=\"http://www.w3.org/2005/Atom\">{rule}</feed>"
    )))
}

/// Making what is there.
pub(super) async fn there(names: Names) -> Answer {
    lane(texts(names)?.first())?;
    Ok(super::empty(StatusCode::CONFLICT))
}

fn described(title: &str, content: &str) -> String {
    format!(
        "<entry xmlns=\"http://www.w3.org/2005/Atom\"><title type=\"text\">{title}</title>\
         <content type=\"application/xml\">{content}</content></entry>"
    )
}

fn atom(text: &str) -> Response {
    let kind = HeaderValue::from_static("application/atom+xml;charset=utf-8");
    ([(CONTENT_TYPE, kind)], text.to_owned()).into_response()
}

/// A duration as the service writes it: `PT1M`, `PT1M30S`.
fn iso(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    match (minutes, seconds) {
        (0, seconds) => format!("PT{seconds}S"),
        (minutes, 0) => format!("PT{minutes}M"),
        (minutes, seconds) => format!("PT{minutes}M{seconds}S"),
    }
}

fn entry(of: &Subscription) -> String {
    let active = of.ready + of.locked;
    let content = format!(
        "<SubscriptionDescription xmlns=\"{SCHEMA}\"><MessageCount>{}</MessageCount>\
         <CountDetails xmlns:d2p1=\"{COUNTS}\"><d2p1:ActiveMessageCount>{active}</d2p1:ActiveMessageCount>\
         <d2p1:DeadLetterMessageCount>{}</d2p1:DeadLetterMessageCount></CountDetails></SubscriptionDescription>",
        active + of.dead,
        of.dead
    );
    described(&of.service, &content)
}
