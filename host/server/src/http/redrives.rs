//! Starting failed jobs again, many at a time.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use lucius_domain::routing::Lane;
use lucius_domain::signature;
use lucius_engine::redrive::{
    self, DEFAULT_RATE, Id, MAX_RATE, Order, PluginChoice, Selection, Target,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::access::{Calling, Detail};
use super::jobs::IdPath;
use super::problem::Problem;
use super::views::{RedriveListView, RedriveView};
use super::{Shared, body, query, to_the_end};

/// The longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;

/// What to start again, and how fast.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveOrder)]
pub(super) struct OrderBody {
    /// Which failed jobs, or which dead-letter queue.
    filter: FilterBody,
    /// Jobs or messages a second, 1 to 500; 10 when absent.
    #[schema(minimum = 1, maximum = 500)]
    rate: Option<u32>,
    /// `pinned`: by the plugins that the jobs were accepted under. `latest`: by those of the live registry
    /// generation; a job that does not fit it stays as it is.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    version: PluginChoice,
    /// True to be told how many there are, and nothing else.
    #[serde(default)]
    dry_run: bool,
    /// Why, for the record.
    reason: Option<String>,
}

/// Which ones: all members that are given must fit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveFilter)]
pub(super) struct FilterBody {
    /// `jobs` (when absent) or `bus`; the bus takes `lane` and `service` and nothing else.
    #[serde(default)]
    source: Source,
    /// Only this tenant's jobs.
    tenant_id: Option<String>,
    /// Only jobs with this signature, as the dead letters name it.
    signature: Option<String>,
    /// Only jobs that failed with this code.
    error_code: Option<String>,
    /// Only jobs of this protocol.
    protocol_id: Option<String>,
    /// Only jobs of this request type.
    request_type: Option<String>,
    /// Only jobs accepted at this moment or later, RFC 3339.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Only jobs accepted before this moment, RFC 3339.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// The lane of a dead-letter queue, 0 to 15.
    #[schema(minimum = 0, maximum = 15)]
    lane: Option<u8>,
    /// The service of a dead-letter queue.
    service: Option<String>,
}

/// Where to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    /// Jobs that failed for good.
    #[default]
    Jobs,
    /// A dead-letter queue of the bus.
    Bus,
}

/// Start failed jobs again
///
/// A redrive goes on by itself at its pace, also over a restart, and takes only what had failed when it was asked
/// for, each once. With `dry_run` nothing happens and the answer says how many there are.
#[utoipa::path(
    post, path = "/v1/redrives", operation_id = "beginRedrive", tag = "operation",
    request_body = OrderBody,
    responses(
        (status = 200, description = "To a dry run: what the redrive would be", body = RedriveView),
        (status = 202, description = "The redrive, which is under way", body = RedriveView,
         headers(("Location" = String, description = "The redrive: `/v1/redrives/{redriveId}`"))),
        (status = 422, description = "INVALID_REDRIVE"),
        (status = 503, description = "BUS_UNAVAILABLE"),
    )
)]
pub(super) async fn begin(
    State(shared): State<Arc<Shared>>,
    caller: Calling,
    request: Request,
) -> Result<Response, Problem> {
    query::none(request.uri().query())?;
    let document = body::json(request, shared.body()).await?;
    let asked: OrderBody =
        serde_json::from_value(document).map_err(|error| invalid(error.to_string()))?;
    let dry_run = asked.dry_run;
    let order = asked.order(caller.0.name)?;
    let engine = Arc::clone(&shared.engine);
    if dry_run {
        let matched = engine.count_redrive(&order.target).await?;
        return Ok(Json(RedriveView::dry(&order, matched)).into_response());
    }
    let redrive = to_the_end(async move { engine.begin_redrive(order).await }).await?;
    let location = format!("/v1/redrives/{}", redrive.id);
    let view = RedriveView::from(&redrive);
    let detail = Detail(view.in_short());
    let mut response = (StatusCode::ACCEPTED, [(LOCATION, location)], Json(view)).into_response();
    response.extensions_mut().insert(detail);
    Ok(response)
}

/// List redrives
///
/// All that are kept, newest first.
#[utoipa::path(
    get, path = "/v1/redrives", operation_id = "listRedrives", tag = "operation",
    responses(
        (status = 200, description = "The redrives", body = RedriveListView),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<RedriveListView>, Problem> {
    query::none(query.as_deref())?;
    let redrives = shared.engine.redrives().await?;
    let redrives = redrives.iter().map(RedriveView::from).collect();
    Ok(Json(RedriveListView { redrives }))
}

/// Show a redrive
#[utoipa::path(
    get, path = "/v1/redrives/{redriveId}", operation_id = "showRedrive", tag = "operation",
    params(("redriveId" = String, Path, description = "The redrive")),
    responses(
        (status = 200, description = "The redrive, with its progress", body = RedriveView),
        (status = 404, description = "REDRIVE_NOT_FOUND"),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<Json<RedriveView>, Problem> {
    if path.as_ref().is_ok_and(|Path(text)| text.contains(':')) {
        return Err(Problem::method_not_allowed(Some("POST")));
    }
    query::none(query.as_deref())?;
    let redrive = shared.engine.redrive_status(named(path)?).await?;
    Ok(Json(RedriveView::from(&redrive)))
}

/// Stop a redrive
///
/// Nothing more is started; what was started goes on.
#[utoipa::path(
    post, path = "/v1/redrives/{redriveId}:cancel", operation_id = "cancelRedrive", tag = "operation",
    params(("redriveId" = String, Path, description = "The redrive")),
    responses(
        (status = 202, description = "The redrive, CANCELLED", body = RedriveView),
        (status = 404, description = "REDRIVE_NOT_FOUND"),
        (status = 409, description = "REDRIVE_OVER"),
        (status = 503, description = "CONTENDED"),
    )
)]
pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    path: IdPath,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<RedriveView>), Problem> {
    query::none(query.as_deref())?;
    let id = named(path)?;
    let engine = Arc::clone(&shared.engine);
    let redrive = to_the_end(async move { engine.cancel_redrive(id).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(RedriveView::from(&redrive))))
}

/// The redrive that a path names; a verb may follow it.
fn named(path: IdPath) -> Result<Id, Problem> {
    let text = path.map(|Path(text)| text).unwrap_or_default();
    let id = Id::parse(text.split(':').next().unwrap_or_default());
    id.ok_or_else(|| redrive::Error::NotFound.into())
}

impl OrderBody {
    fn order(self, requested_by: String) -> Result<Order, Problem> {
        let rate = self.rate.unwrap_or(DEFAULT_RATE);
        if !(1..=MAX_RATE).contains(&rate) {
            return Err(invalid(format!("rate is 1 to {MAX_RATE} a second")));
        }
        let reason = self.reason;
        if reason
            .as_ref()
            .is_some_and(|text| text.chars().count() > MAX_REASON_CHARS)
        {
            return Err(invalid(format!(
                "reason has at most {MAX_REASON_CHARS} characters"
            )));
        }
        Ok(Order {
            target: self.filter.target()?,
            rate,
            version: self.version,
            requested_by,
            reason,
        })
    }
}

impl FilterBody {
    fn target(self) -> Result<Target, Problem> {
        let of_bus = self.lane.is_some() || self.service.is_some();
        match self.source {
            Source::Bus => self.dead_queue(),
            Source::Jobs if of_bus => Err(invalid(
                "lane and service name a dead-letter queue: add \"source\": \"bus\"",
            )),
            Source::Jobs => Ok(Target::Jobs {
                selection: self.selection()?,
            }),
        }
    }

    fn selection(self) -> Result<Selection, Problem> {
        let signature = self.signature.map(|text| {
            let id = signature::Id::parse(&text);
            id.ok_or_else(|| invalid("signature is one that the dead letters name"))
        });
        let moment = |text: Option<String>, name: &str| {
            let parsed = text.map(|text| query::moment(&text));
            let wrong = || invalid(format!("{name} is a moment as in RFC 3339"));
            parsed.map(|it| it.ok_or_else(wrong)).transpose()
        };
        Ok(Selection {
            tenant_id: self.tenant_id.as_deref().map(Into::into),
            signature: signature.transpose()?,
            error_code: self.error_code,
            protocol_id: self.protocol_id.as_deref().map(Into::into),
            request_type: self.request_type.as_deref().map(Into::into),
            from: moment(self.from, "from")?,
            until: moment(self.until, "until")?,
        })
    }

    fn dead_queue(self) -> Result<Target, Problem> {
        let Self {
            source: _,
            tenant_id: None,
            signature: None,
            error_code: None,
            protocol_id: None,
            request_type: None,
            from: None,
            until: None,
            lane: Some(lane),
            service: Some(service),
        } = self
        else {
            return Err(invalid(
                "a dead-letter queue is named by lane and service and nothing else",
            ));
        };
        let lane = Lane::new(lane).ok_or_else(|| invalid("lane is 0 to 15"))?;
        Ok(Target::Bus {
            lane,
            service: service.as_str().into(),
        })
    }
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REDRIVE", detail)
}

impl From<redrive::Error> for Problem {
    fn from(error: redrive::Error) -> Self {
        match error {
            redrive::Error::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "REDRIVE_NOT_FOUND",
                "there is no such redrive: GET /v1/redrives lists them",
            ),
            redrive::Error::Over => Self::new(
                StatusCode::CONFLICT,
                "REDRIVE_OVER",
                "the redrive has been through all there was",
            ),
            redrive::Error::Contended => lucius_engine::Refusal::Contended.into(),
            redrive::Error::Ledger(error) => error.into(),
            redrive::Error::Bus(error) => Self::bus(error),
        }
    }
}
