//! Looking at the audit trail.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};

use super::problem::Problem;
use super::views::{AuditEntryView, AuditListView};
use super::{Shared, query};

/// Who did what, and why
///
/// Newest first: every change that was made with the scope admin. Follow `next_cursor` for more.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "listAudit", tag = "access",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of the trail", body = AuditListView),
        (status = 400, description = "INVALID_CURSOR"),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<AuditListView>, Problem> {
    let page = query::records(query.as_deref())?;
    let audit = shared.engine.audit();
    let (entries, next) = audit.list(page.after.as_ref(), page.limit).await?;
    Ok(Json(AuditListView {
        entries: entries.into_iter().map(AuditEntryView::from).collect(),
        next_cursor: next.map(|key| key.as_str().to_owned()),
    }))
}
