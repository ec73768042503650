//! Which lane a job travels in, and in which mode.

use serde::{Deserialize, Serialize};

/// How many lanes, and so bus topics, there are.
pub const LANES: u8 = 16;

/// One of the 16 bus topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(u8);

impl Lane {
    /// A lane by its number; there are 16.
    pub fn new(number: u8) -> Option<Self> {
        (number < LANES).then_some(Self(number))
    }

    /// The lane of a routing key: `CRC32(key) % 16`, the IEEE CRC-32 that zlib computes.
    pub fn of(routing_key: &str) -> Self {
        let remainder = crc32fast::hash(routing_key.as_bytes()) % u32::from(LANES);
        Self(u8::try_from(remainder).unwrap_or(0))
    }

    /// All lanes in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANES).map(Self)
    }

    /// The number, 0 to 15.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The bus topic: `global-bus-p3`.
    pub fn topic(self) -> String {
        format!("global-bus-p{}", self.0)
    }
}

/// How a tenant's jobs share lanes: all in one, or one for each document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// One lane for a tenant.
    #[default]
    Default,
    /// A lane for each of the tenant's documents.
    Burst,
}

impl Mode {
    /// The name in contracts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Burst => "BURST",
        }
    }
}

/// Who decided the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DecisionSource {
    /// The command asked for it.
    Request,
    /// The registry sets it for the tenant.
    TenantConfig,
    /// The host's default.
    GlobalConfig,
}

impl DecisionSource {
    /// The name in contracts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::TenantConfig => "TENANT_CONFIG",
            Self::GlobalConfig => "GLOBAL_CONFIG",
        }
    }
}

/// The mode of a job and where it came from; pinned when the job is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeDecision {
    /// The mode.
    pub resolved_mode: Mode,
    /// Who decided.
    pub decision_source: DecisionSource,
    /// The same for a person.
    pub decision_reason: String,
}

/// Picks the mode: the request's, else the tenant's, else the global one.
pub fn resolve_mode(request: Option<Mode>, tenant: Option<Mode>, global: Mode) -> ModeDecision {
    let (resolved_mode, decision_source, who) = match (request, tenant) {
        (Some(mode), _) => (mode, DecisionSource::Request, "the command asks for"),
        (None, Some(mode)) => (mode, DecisionSource::TenantConfig, "the tenant is set to"),
        (None, None) => (
            global,
            DecisionSource::GlobalConfig,
            "the host's default is",
        ),
    };
    let decision_reason = format!("{who} {}", resolved_mode.as_str());
    ModeDecision {
        resolved_mode,
        decision_source,
        decision_reason,
    }
}

/// BURST needs a document to spread by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mode BURST routes by document: give doc_id, or use mode DEFAULT")]
pub struct DocIdRequired;

/// The key that chooses the lane: the tenant alone, or the tenant and the document, each trimmed and in lower case.
///
/// # Errors
/// [`DocIdRequired`] for BURST without a document.
pub fn routing_key(
    mode: Mode,
    tenant: &str,
    doc_id: Option<&str>,
) -> Result<String, DocIdRequired> {
    match (mode, doc_id.map(normalize).filter(|doc| !doc.is_empty())) {
        (Mode::Default, _) => Ok(normalize(tenant)),
        (Mode::Burst, Some(doc)) => Ok(normalize(tenant) + &doc),
        (Mode::Burst, None) => Err(DocIdRequired),
    }
}

fn normalize(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_zlibs_crc_32_modulo_16() {
        // python3 -c 'import zlib; print(zlib.crc32(b"acme") % 16, zlib.crc32(b"") % 16)'
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
        assert_eq!(Lane::of("123456789").number(), 6);
        assert_eq!(Lane::of("").number(), 0);
    }

    #[test]
    fn default_mode_routes_by_the_tenant_alone() {
        assert_eq!(
            routing_key(Mode::Default, "  ACME ", Some("d")),
            Ok("acme".to_owned())
        );
    }

    #[test]
    fn burst_mode_routes_by_tenant_and_document_and_needs_one() {
        assert_eq!(
            routing_key(Mode::Burst, "Acme", Some(" Doc-1 ")),
            Ok("acmedoc-1".to_owned())
        );
        assert_eq!(routing_key(Mode::Burst, "Acme", None), Err(DocIdRequired));
        assert_eq!(
            routing_key(Mode::Burst, "Acme", Some("  ")),
            Err(DocIdRequired)
        );
    }

    #[test]
    fn the_request_wins_over_the_tenant_and_the_tenant_over_the_host() {
        let burst = Some(Mode::Burst);
        let asked = resolve_mode(Some(Mode::Default), burst, Mode::Burst);
        assert_eq!(asked.decision_source, DecisionSource::Request);
        assert_eq!(asked.resolved_mode, Mode::Default);
        let tenant = resolve_mode(None, burst, Mode::Default);
        assert_eq!(tenant.decision_source, DecisionSource::TenantConfig);
        let global = resolve_mode(None, None, Mode::Default);
        assert_eq!(global.decision_source, DecisionSource::GlobalConfig);
    }
}
