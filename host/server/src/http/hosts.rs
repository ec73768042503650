//! The hosts that share this one's ledger.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};

use super::problem::Problem;
use super::views::HostListView;
use super::{Shared, query};

/// List the hosts
///
/// As this host last saw them. Hosts find each other through the ledger; on SQLite there is one.
#[utoipa::path(
    get, path = "/v1/hosts", operation_id = "listHosts", tag = "operation",
    responses((status = 200, description = "The hosts, and the lanes whose scans they do", body = HostListView))
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Json<HostListView>, Problem> {
    query::none(query.as_deref())?;
    let engine = &shared.engine;
    let now = engine.ports().clock.now();
    let claim = engine.settings().fleet.claim;
    Ok(Json(HostListView::new(&engine.roster(), now, claim)))
}
