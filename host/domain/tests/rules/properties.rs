//! What holds for all values: lanes, waits, and what a ledger stores of a job.

use lucius_domain::job::{Job, JobProgress};
use lucius_domain::retry::Timing;
use lucius_domain::routing::{Lane, Mode, routing_key};
use proptest::prelude::*;

use crate::stage::{Play, Says, fault, migrate, settle};

/// CRC-32 as zlib defines it, bit by bit: polynomial 0xEDB88320, all ones before and after.
fn zlib_crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[test]
fn the_reference_agrees_with_zlib() {
    // python3 -c 'import zlib; print([zlib.crc32(t.encode()) for t in ("", "acme", "Größe 42", "a" * 1000)])'
    let known = [
        (String::new(), 0),
        ("acme".to_owned(), 96_778_814),
        ("Größe 42".to_owned(), 1_968_675_535),
        ("a".repeat(1_000), 2_587_417_091),
    ];
    for (text, crc) in known {
        assert_eq!(zlib_crc32(text.as_bytes()), crc, "{text}");
    }
}

proptest! {
    #[test]
    fn every_lane_is_zlibs_crc_32_of_the_key_modulo_16(key in ".*") {
        let lane = u32::from(Lane::of(&key).number());
        prop_assert_eq!(lane, zlib_crc32(key.as_bytes()) % 16);
    }

    #[test]
    fn a_routing_key_is_its_own_normal_form(tenant in ".*", document in ".*[a-z].*") {
        for mode in [Mode::Default, Mode::Burst] {
            let key = routing_key(mode, &tenant, Some(&document)).expect("there is a document");
            let padded = format!("  {} ", tenant.trim());
            let again = routing_key(mode, &padded, Some(&document)).expect("there is a document");
            prop_assert_eq!(&key, &again);
        }
        let alone = routing_key(Mode::Default, &tenant, None).expect("none is needed");
        prop_assert_eq!(alone.clone(), alone.trim().to_lowercase());
    }

    #[test]
    fn retry_waits_are_those_that_were_set_and_the_last_one_repeats(
        waits in prop::collection::vec(any::<u64>(), 0..6), failures in 1..12_u32,
    ) {
        let timing = Timing { retry_backoff_ms: waits.clone(), ..Timing::default() };
        let place = usize::try_from(failures).expect("a few") - 1;
        let expected = waits.get(place).or(waits.last()).copied().unwrap_or(0);
        prop_assert_eq!(timing.retry_wait_ms(failures), expected);
        let timing = Timing { dispatch_backoff_ms: waits.clone(), ..Timing::default() };
        prop_assert_eq!(timing.publish_wait_ms(failures), waits.get(place).copied());
    }
}

/// No part of a stored job takes what it does not know: it would be gone when the job is written back.
fn refuses_additions(job: &Job, places: &[&str]) {
    let stored = serde_json::to_value(&job.progress).expect("plain data");
    serde_json::from_value::<JobProgress>(stored.clone()).expect("it is known");
    for place in places {
        let mut newer = stored.clone();
        let part = newer
            .pointer_mut(place)
            .unwrap_or_else(|| panic!("no {place} in {stored}"));
        part["of_a_later_version"] = 1.into();
        serde_json::from_value::<JobProgress>(newer).expect_err(place);
    }
}

#[test]
fn f41_a_stored_job_with_something_that_this_version_does_not_know_is_refused_and_not_cut() {
    let mut play = Play::new(2);
    play.begin_work();
    play.end_work(Says::TryAgain);
    play.until_due();
    play.begin_work();
    play.bring(migrate(2));
    let working = [
        "",
        "/steps/0",
        "/steps/0/phase",
        "/steps/0/phase/attempt",
        "/steps/0/phase/attempt/key",
        "/steps/0/decided/0",
        "/steps/0/last_failure",
        "/migrated",
        "/migrated/plugins/0",
    ];
    refuses_additions(&play.job, &working);
    play.together(vec![play.result(Says::GiveUp), settle(Err(fault()))]);
    refuses_additions(&play.job, &["/steps/0/phase", "/steps/0/phase/report"]);
    play.until_due();
    play.bring(play.settled());
    refuses_additions(&play.job, &["/status", "/status/failure"]);
    let stored = serde_json::to_value(&play.job.progress).expect("plain data");
    for place in ["/steps/0/phase/phase", "/status/state"] {
        let mut newer = stored.clone();
        *newer.pointer_mut(place).expect("it is there") = "OF_A_LATER_VERSION".into();
        serde_json::from_value::<JobProgress>(newer).expect_err("an unknown state");
    }
}
