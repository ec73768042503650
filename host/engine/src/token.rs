//! The bearer token of one attempt.
//!
//! HMAC-SHA-256 over the tenant, job, step, attempt number and lease, each with its length before it, so that no two
//! different tuples give the same text. It is made when the directive is written and never stored. It says that the
//! bearer was given that very directive; whether the attempt still counts is for the ledger to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use lucius_domain::id::{AttemptKey, JobId, StepId, TenantId};
use sha2::Sha256;

const VERSION: &str = "v1";

/// Makes and checks tokens.
pub struct Tokens {
    mac: Hmac<Sha256>,
}

impl Tokens {
    /// With the hosts' common key.
    pub fn new(key: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
        Self { mac }
    }

    /// The token of an attempt.
    pub fn issue(&self, tenant: &TenantId, job: JobId, step: &StepId, key: AttemptKey) -> String {
        let tag = self.mac_of(tenant, job, step, key).finalize().into_bytes();
        format!("{VERSION}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// True when the token is that attempt's. Takes the same time for every wrong token of the same length.
    pub fn verify(
        &self,
        token: &str,
        tenant: &TenantId,
        job: JobId,
        step: &StepId,
        key: AttemptKey,
    ) -> bool {
        let tag = token
            .strip_prefix(VERSION)
            .and_then(|rest| rest.strip_prefix('.'));
        let Some(tag) = tag.and_then(|tag| URL_SAFE_NO_PAD.decode(tag).ok()) else {
            return false;
        };
        self.mac_of(tenant, job, step, key)
            .verify_slice(&tag)
            .is_ok()
    }

    fn mac_of(
        &self,
        tenant: &TenantId,
        job: JobId,
        step: &StepId,
        key: AttemptKey,
    ) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        let attempt_no = key.no.0.to_be_bytes();
        let parts: [&[u8]; 6] = [
            VERSION.as_bytes(),
            tenant.as_str().as_bytes(),
            job.0.as_bytes(),
            step.as_str().as_bytes(),
            &attempt_no,
            key.lease_id.0.as_bytes(),
        ];
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucius_domain::id::{AttemptNo, LeaseId};
    use uuid::Uuid;

    #[test]
    fn a_token_opens_its_own_attempt_and_no_other() {
        let tokens = Tokens::new(&[7; 32]);
        let job = JobId(Uuid::from_u128(1));
        let key = AttemptKey {
            no: AttemptNo(1),
            lease_id: LeaseId(Uuid::from_u128(2)),
        };
        let (tenant, step) = (TenantId::from("acme"), StepId::from("ocr"));
        let token = tokens.issue(&tenant, job, &step, key);
        assert!(tokens.verify(&token, &tenant, job, &step, key));

        let later = AttemptKey {
            no: AttemptNo(2),
            ..key
        };
        assert!(!tokens.verify(&token, &tenant, job, &step, later));
        assert!(!tokens.verify(
            &token,
            &TenantId::from("acm"),
            job,
            &StepId::from("eocr"),
            key
        ));
        assert!(!tokens.verify(&token, &tenant, JobId(Uuid::from_u128(3)), &step, key));
        assert!(!tokens.verify("v1.", &tenant, job, &step, key));
        assert!(!tokens.verify("nonsense", &tenant, job, &step, key));
        assert!(!Tokens::new(&[8; 32]).verify(&token, &tenant, job, &step, key));
    }
}
