//! What can be read off a job: by the engine, by clients, and by the plugin that decides about a step.

use lucius_domain::plugin::{Artifact, Context, StepOutput};
use lucius_domain::routing::{DecisionSource, Lane, Mode};
use serde_json::json;

use crate::stage::{Play, Says, skip};

#[test]
fn each_step_is_found_by_its_own_name_and_no_other() {
    let job = Play::new(3).job;
    for (index, step) in job.spec.steps.iter().enumerate() {
        assert_eq!(job.step_index(&step.step_id), Some(index));
    }
    assert_eq!(job.step_index(&"review".into()), None);
}

#[test]
fn a_job_says_why_it_failed_and_at_which_step_only_when_it_did() {
    let mut play = Play::new(2);
    assert_eq!((play.job.failure(), play.job.failed_step()), (None, None));
    play.begin_work();
    play.end_work(Says::Done);
    play.begin_work();
    play.end_work(Says::GiveUp);
    let failure = play.job.failure().map(|failure| failure.code.as_str());
    assert_eq!(failure, Some("UNREADABLE"));
    assert_eq!(play.job.failed_step(), Some(1));
}

#[test]
fn a_plugin_knows_its_step_and_what_came_before_and_nothing_of_job_or_tenant() {
    let mut play = Play::new(3);
    let route = play.route(skip());
    play.bring(route);
    play.begin_work();
    play.end_work(Says::Done);
    let step = &play.job.spec.steps[2];
    let context = play
        .job
        .plugin_context(2, step_attempt(&play), json!({ "model": "small" }));
    let earlier = |name: &str, skipped, artifacts| StepOutput {
        step_id: name.into(),
        step_type: name.to_uppercase().as_str().into(),
        skipped,
        artifacts,
    };
    let text = Says::Done.report();
    let lucius_domain::plugin::Report::Succeeded { artifact_refs, .. } = text else {
        panic!("done is done")
    };
    let written: Vec<Artifact> = artifact_refs.iter().map(Artifact::from).collect();
    let expected = Context {
        step_id: "sis".into(),
        step_type: "SIS".into(),
        service: "platform-sis".into(),
        mode: Mode::Default,
        attempt: 1,
        max_attempts: 3,
        input: Artifact {
            uri: "s3://in/a.pdf".to_owned(),
            content_type: None,
            size_bytes: Some(7),
            metadata: json!({}),
        },
        payload: step.payload.clone(),
        earlier: vec![
            earlier("ocr", true, vec![]),
            earlier("embedding", false, written),
        ],
        config: json!({ "model": "small" }),
    };
    assert_eq!(context, Some(expected));
    assert_eq!(
        play.job.plugin_context(3, step_attempt(&play), json!({})),
        None
    );
}

fn step_attempt(play: &Play) -> lucius_domain::id::AttemptNo {
    play.job.progress.steps[2].attempts.next()
}

#[test]
fn the_lanes_are_sixteen_and_each_has_its_topic() {
    let topics: Vec<String> = Lane::all().map(Lane::topic).collect();
    let expected: Vec<String> = (0..16).map(|lane| format!("global-bus-p{lane}")).collect();
    assert_eq!(topics, expected);
}

#[test]
fn modes_and_who_decided_are_called_in_text_as_they_are_in_json() {
    for mode in [Mode::Default, Mode::Burst] {
        assert_eq!(json!(mode), json!(mode.as_str()));
    }
    let sources = [
        DecisionSource::Request,
        DecisionSource::TenantConfig,
        DecisionSource::GlobalConfig,
    ];
    for source in sources {
        assert_eq!(json!(source), json!(source.as_str()));
    }
}
