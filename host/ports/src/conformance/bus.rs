//! What every bus and its subscriptions do.
//!
//! A backend's test calls [`bus_conformance!`](crate::bus_conformance) with how to make a [`Fixture`]; each case then
//! runs as a test of its own on a fixture of its own. Nothing here looks at a clock: a wait that should end early is
//! so long that a test that sat it out would be noticed.

use std::cell::Cell;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::id::{AttemptNo, JobId, ServiceName, StepId, TenantId};
use lucius_domain::routing::{Lane, Mode};
use uuid::Uuid;

use crate::bus::{Bus, Message, Received, Settled, Subscription};
use crate::dead_queues::{DeadQueue, DeadQueues};

/// Longer than any test lives, where a message is on its way.
const UNTIL_IT_COMES: Duration = Duration::from_secs(3_600);

/// A bus with nothing in it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The host's side.
    fn bus(&self) -> &dyn Bus;

    /// A service's side.
    async fn subscription(&self, lane: Lane, service: &ServiceName) -> Box<dyn Subscription>;

    /// After how many deliveries a message is dead; small, to keep the test short.
    fn max_delivery_count(&self) -> u32;
}

/// Turns the cases into tests. The argument is an expression for a future that makes a [`Fixture`].
#[macro_export]
macro_rules! bus_conformance {
    ($fixture:expr) => {
        $crate::bus_conformance!($fixture;
            what_goes_in_comes_out_whole,
            text_of_any_script_survives,
            a_lane_and_service_keep_their_order,
            a_locked_message_is_hidden,
            an_abandoned_message_is_back_at_once_and_counted,
            a_completed_message_is_gone,
            renewing_keeps_the_message,
            a_lost_lock_settles_nothing,
            a_message_nobody_completes_becomes_a_dead_letter,
            a_message_is_for_one_service_in_one_lane,
            a_waiting_receiver_gets_what_arrives,
            each_waiting_receiver_gets_its_own,
            a_receiver_of_nothing_gets_nothing,
            a_bus_says_that_it_is_ready,
        );
    };
    ($fixture:expr; $($case:ident,)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::bus::$case(&$fixture.await).await;
            }
        )+
    };
}

/// The services that the cases send to. On a bus where a message is lost that comes before its subscription, a fixture
/// makes theirs beforehand.
pub const SERVICES: [&str; 4] = ["svc", "other", "a-svc", "b-svc"];

/// The lane of all messages.
pub fn lane() -> Lane {
    Lane::of("acme")
}

thread_local! {
    static FIRST_JOB: Cell<u128> = const { Cell::new(1) };
}

/// Messages of this thread are about jobs from this number on. A bus that remembers what it was sent would drop those
/// of an earlier test.
pub fn number_jobs_from(first: u128) {
    FIRST_JOB.set(first);
}

/// A message to a service, the `n`-th.
fn message(service: &str, n: u32) -> Message {
    let job_id = JobId(Uuid::from_u128(FIRST_JOB.get() + u128::from(n)));
    let (step_id, attempt_no) = (StepId::new("ocr"), AttemptNo(1));
    Message {
        message_id: format!("{job_id}:{step_id}:{attempt_no}"),
        lane: lane(),
        routing_key: "acme".to_owned(),
        service: ServiceName::new(service),
        mode: Mode::Default,
        tenant_id: TenantId::new("Acme"),
        job_id,
        step_id,
        attempt_no,
        body: format!("{{\"n\":{n}}}"),
    }
}

async fn publish(fixture: &dyn Fixture, messages: &[Message]) {
    for message in messages {
        fixture
            .bus()
            .publish(message)
            .await
            .expect("the bus takes the message");
    }
}

async fn subscription(fixture: &dyn Fixture, service: &str) -> Box<dyn Subscription> {
    fixture
        .subscription(lane(), &ServiceName::new(service))
        .await
}

async fn next(subscription: &dyn Subscription) -> Option<Received> {
    subscription
        .peek_lock(Duration::ZERO)
        .await
        .expect("the subscription answers")
}

async fn held(subscription: &dyn Subscription) -> Received {
    next(subscription).await.expect("a message is waiting")
}

async fn complete(subscription: &dyn Subscription, received: &Received) -> Settled {
    subscription
        .complete(received)
        .await
        .expect("the subscription answers")
}

async fn abandon(subscription: &dyn Subscription, received: &Received) -> Settled {
    subscription
        .abandon(received)
        .await
        .expect("the subscription answers")
}

/// Body and id are those published, and it is the first delivery.
pub async fn what_goes_in_comes_out_whole(fixture: &dyn Fixture) {
    let sent = message("svc", 0);
    publish(fixture, std::slice::from_ref(&sent)).await;
    let subscription = subscription(fixture, "svc").await;
    let received = held(&*subscription).await;
    assert_eq!(received.body, sent.body);
    assert_eq!(received.message_id, sent.message_id);
    assert_eq!(received.delivery_count, 1);
}

/// Nothing on the way mangles what is not ASCII, nor quotes and line ends.
pub async fn text_of_any_script_survives(fixture: &dyn Fixture) {
    let mut sent = message("svc", 0);
    sent.body = "{\"text\":\"Grüße, 世界 📄\\n\\\"zitiert\\\"\"}\n".to_owned();
    sent.tenant_id = TenantId::new("Müller & Söhne 株式会社");
    sent.routing_key = "müller & söhne 株式会社".to_owned();
    publish(fixture, std::slice::from_ref(&sent)).await;
    let subscription = subscription(fixture, "svc").await;
    assert_eq!(held(&*subscription).await.body, sent.body);
}

/// First in, first out, also when an early one comes back.
pub async fn a_lane_and_service_keep_their_order(fixture: &dyn Fixture) {
    let sent: Vec<_> = (0..5).map(|n| message("svc", n)).collect();
    publish(fixture, &sent).await;
    let subscription = subscription(fixture, "svc").await;
    let first = held(&*subscription).await;
    let second = held(&*subscription).await;
    assert_eq!(abandon(&*subscription, &first).await, Settled::Done);
    assert_eq!(complete(&*subscription, &second).await, Settled::Done);
    let mut last = 0;
    for n in [0, 2, 3, 4] {
        let received = held(&*subscription).await;
        assert_eq!(received.body, sent[n].body);
        assert!(received.sequence_number > last, "sequence numbers rise");
        last = received.sequence_number;
    }
}

/// While one holds it, nobody else gets it.
pub async fn a_locked_message_is_hidden(fixture: &dyn Fixture) {
    publish(fixture, &[message("svc", 0)]).await;
    let (one, other) = (
        subscription(fixture, "svc").await,
        subscription(fixture, "svc").await,
    );
    let received = held(&*one).await;
    assert_eq!(next(&*other).await, None);
    assert_eq!(abandon(&*one, &received).await, Settled::Done);
    assert_eq!(held(&*other).await.message_id, received.message_id);
}

/// Giving back is for anyone to take, and a new delivery with a new lock.
pub async fn an_abandoned_message_is_back_at_once_and_counted(fixture: &dyn Fixture) {
    publish(fixture, &[message("svc", 0)]).await;
    let subscription = subscription(fixture, "svc").await;
    let first = held(&*subscription).await;
    assert_eq!(abandon(&*subscription, &first).await, Settled::Done);
    let second = held(&*subscription).await;
    assert_eq!((first.delivery_count, second.delivery_count), (1, 2));
    assert_eq!(first.sequence_number, second.sequence_number);
    assert_ne!(first.lock_token, second.lock_token);
}

/// Completed is for good.
pub async fn a_completed_message_is_gone(fixture: &dyn Fixture) {
    publish(fixture, &[message("svc", 0)]).await;
    let subscription = subscription(fixture, "svc").await;
    let received = held(&*subscription).await;
    assert_eq!(complete(&*subscription, &received).await, Settled::Done);
    assert_eq!(next(&*subscription).await, None);
    let dead = subscription
        .take_dead_letter()
        .await
        .expect("the subscription answers");
    assert_eq!(dead, None);
}

/// A renewed lock still hides the message and still settles it.
pub async fn renewing_keeps_the_message(fixture: &dyn Fixture) {
    publish(fixture, &[message("svc", 0)]).await;
    let subscription = subscription(fixture, "svc").await;
    let received = held(&*subscription).await;
    let renewed = subscription
        .renew(&received)
        .await
        .expect("the subscription answers");
    assert_eq!(renewed, Settled::Done);
    assert_eq!(next(&*subscription).await, None);
    assert_eq!(complete(&*subscription, &received).await, Settled::Done);
}

/// A lock that was settled settles nothing again, also when someone else holds the message by now.
pub async fn a_lost_lock_settles_nothing(fixture: &dyn Fixture) {
    publish(fixture, &[message("svc", 0)]).await;
    let subscription = subscription(fixture, "svc").await;
    let lost = held(&*subscription).await;
    assert_eq!(abandon(&*subscription, &lost).await, Settled::Done);
    let current = held(&*subscription).await;
    assert_eq!(complete(&*subscription, &lost).await, Settled::LockLost);
    assert_eq!(abandon(&*subscription, &lost).await, Settled::LockLost);
    let renewed = subscription
        .renew(&lost)
        .await
        .expect("the subscription answers");
    assert_eq!(renewed, Settled::LockLost);
    assert_eq!(complete(&*subscription, &current).await, Settled::Done);
    assert_eq!(complete(&*subscription, &current).await, Settled::LockLost);
}

/// After the last delivery it leaves the line, whole, and those behind it go on.
pub async fn a_message_nobody_completes_becomes_a_dead_letter(fixture: &dyn Fixture) {
    let (poison, good) = (message("svc", 0), message("svc", 1));
    publish(fixture, &[poison.clone(), good.clone()]).await;
    let subscription = subscription(fixture, "svc").await;
    for delivery in 1..=fixture.max_delivery_count() {
        let received = held(&*subscription).await;
        assert_eq!(received.message_id, poison.message_id);
        assert_eq!(received.delivery_count, delivery);
        assert_eq!(abandon(&*subscription, &received).await, Settled::Done);
    }
    assert_eq!(held(&*subscription).await.message_id, good.message_id);
    let dead = subscription
        .take_dead_letter()
        .await
        .expect("the subscription answers");
    let dead = dead.expect("the poison is there");
    assert_eq!(
        (dead.body, dead.message_id),
        (poison.body, poison.message_id)
    );
    let more = subscription
        .take_dead_letter()
        .await
        .expect("the subscription answers");
    assert_eq!(more, None);
}

/// For a bus that shows its dead-letter queues: they show what died, in order, and give it out once.
pub async fn what_died_is_shown_and_taken_once(fixture: &dyn Fixture, dead: &dyn DeadQueues) {
    let shown = async || dead.dead_queues().await.expect("the bus answers");
    assert_eq!(shown().await, []);
    let poison = [
        message("b-svc", 0),
        message("b-svc", 1),
        message("a-svc", 2),
    ];
    publish(fixture, &poison).await;
    publish(fixture, &[message("good", 3)]).await;
    for service in ["b-svc", "b-svc", "a-svc"] {
        let subscription = subscription(fixture, service).await;
        for _ in 0..fixture.max_delivery_count() {
            let received = held(&*subscription).await;
            assert_eq!(abandon(&*subscription, &received).await, Settled::Done);
        }
    }
    let queue = |service: &str, messages| DeadQueue {
        lane: lane(),
        service: service.into(),
        messages,
    };
    assert_eq!(shown().await, [queue("a-svc", 1), queue("b-svc", 2)]);
    let take = async |service: &str| {
        let taken = dead.take_dead(lane(), &service.into()).await;
        taken.expect("the bus answers")
    };
    for sent in [&poison[0], &poison[1]] {
        let taken = take("b-svc").await.expect("it died");
        assert_eq!(
            (&taken.message_id, &taken.body),
            (&sent.message_id, &sent.body)
        );
        // Some count the taking too.
        assert!(taken.delivery_count >= fixture.max_delivery_count());
    }
    for service in ["b-svc", "good", "nobody"] {
        assert_eq!(take(service).await, None, "{service}");
    }
    assert_eq!(shown().await, [queue("a-svc", 1)]);
}

/// Another service, or the same in another lane, sees nothing of it.
pub async fn a_message_is_for_one_service_in_one_lane(fixture: &dyn Fixture) {
    publish(fixture, &[message("svc", 0)]).await;
    assert_eq!(next(&*subscription(fixture, "other").await).await, None);
    for lane in Lane::all().filter(|other| *other != lane()) {
        let elsewhere = fixture.subscription(lane, &ServiceName::new("svc")).await;
        assert_eq!(next(&*elsewhere).await, None);
    }
    held(&*subscription(fixture, "svc").await).await;
}

/// Who waits need not wait until the end.
pub async fn a_waiting_receiver_gets_what_arrives(fixture: &dyn Fixture) {
    let subscription = subscription(fixture, "svc").await;
    let sent = message("svc", 0);
    let (received, ()) = tokio::join!(
        subscription.peek_lock(UNTIL_IT_COMES),
        publish(fixture, std::slice::from_ref(&sent)),
    );
    let received = received
        .expect("the subscription answers")
        .expect("the message came");
    assert_eq!(received.message_id, sent.message_id);
}

/// Two messages wake two receivers, and what one gives back wakes another.
pub async fn each_waiting_receiver_gets_its_own(fixture: &dyn Fixture) {
    let (one, other) = (
        subscription(fixture, "svc").await,
        subscription(fixture, "svc").await,
    );
    let sent = [message("svc", 0), message("svc", 1)];
    let (first, second, ()) = tokio::join!(
        one.peek_lock(UNTIL_IT_COMES),
        other.peek_lock(UNTIL_IT_COMES),
        publish(fixture, &sent),
    );
    let first = first
        .expect("the subscription answers")
        .expect("a message came");
    let second = second
        .expect("the subscription answers")
        .expect("a message came");
    assert_ne!(first.message_id, second.message_id);
    let (again, settled) = tokio::join!(other.peek_lock(UNTIL_IT_COMES), abandon(&*one, &first));
    let again = again
        .expect("the subscription answers")
        .expect("it came back");
    assert_eq!(
        (again.message_id, settled),
        (first.message_id, Settled::Done)
    );
}

/// An empty subscription is no error.
pub async fn a_receiver_of_nothing_gets_nothing(fixture: &dyn Fixture) {
    let subscription = subscription(fixture, "svc").await;
    assert_eq!(next(&*subscription).await, None);
    let waited = subscription.peek_lock(Duration::from_millis(1)).await;
    assert_eq!(waited.expect("the subscription answers"), None);
    let dead = subscription
        .take_dead_letter()
        .await
        .expect("the subscription answers");
    assert_eq!(dead, None);
}

/// A bus that takes messages says so.
pub async fn a_bus_says_that_it_is_ready(fixture: &dyn Fixture) {
    fixture.bus().check().await.expect("the bus is ready");
    publish(fixture, &[message("svc", 0)]).await;
    fixture.bus().check().await.expect("the bus is still ready");
}
