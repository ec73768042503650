//! SIGKILL at every boundary of a change of the registry: the generation of before serves, or the new one, whole.
//!
//! Between the kill and the next start the registry folder is made unreadable, so that what serves can only be what
//! the host itself had kept: a generation that was appended without its bytes would be found out.

use std::sync::Arc;

use lucius_tests::client::Client;
use lucius_tests::disk::{Disk, Operation};
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::registry::{Copied, hex};
use reqwest::Method;
use serde_json::{Value, json};

use crate::boundaries::{Place, places};

/// What changes which generation is live.
enum Act {
    Reload,
    RollBack(u64),
}

/// A host whose registry has one plugin, of which there is always another release.
struct Stage {
    disk: Arc<Disk>,
    registry: Copied,
    host: Host,
    /// The digests of the generations, from the first.
    releases: Vec<String>,
}

impl Stage {
    async fn new() -> anyhow::Result<Self> {
        let (disk, mut registry) = (Arc::new(Disk::new()), Copied::new()?);
        registry.only("ocr")?;
        let first = registry.plugin("ocr")["sha256"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let setup = Setup::quick().registry(registry.path()).disk(&disk);
        let host = setup.start().await;
        Ok(Self {
            disk,
            registry,
            host,
            releases: vec![first],
        })
    }

    fn client(&self) -> Client {
        self.host.client()
    }

    async fn status(&self) -> Value {
        self.client().get("/v1/registry").await.expect(200).body
    }

    /// Puts another release into the registry; its digest.
    fn publish(&mut self) -> anyhow::Result<String> {
        self.registry
            .release("ocr", &format!("release {}", self.releases.len()))
    }

    /// What it came to; nothing when the host died of it.
    async fn act(&self, act: &Act) -> Option<Value> {
        let client = self.client();
        let request = match act {
            Act::Reload => client.request(Method::POST, "/v1/registry:reload"),
            Act::RollBack(to) => {
                let request = client.request(Method::POST, "/v1/registry:rollback");
                request.json(&json!({ "to": to }))
            }
        };
        let answer = client.try_send(request).await.ok()?;
        Some(answer.expect(200).body)
    }

    /// What a quiet act does to the disk until it is answered.
    async fn operations(&self, act: &Act) -> Vec<Operation> {
        let before = self.disk.count();
        assert!(self.act(act).await.is_some());
        let mut operations = self.disk.operations();
        operations.retain(|it| it.number > before);
        operations
    }

    /// A job that waits for its worker.
    async fn job(&self, tenant: &str, key: &str) -> String {
        let order = with(order(tenant, "OCR"), json!({ "idempotency_key": key }));
        let job = self.client().submit(&order).await;
        self.client().step_in(&job, "ocr", "AWAITING_ACK").await;
        job
    }

    /// Does the work of a tenant's one job.
    async fn end(&self, tenant: &str, job: &str) {
        self.host.worker("platform-ocr").succeed(tenant).await;
        assert_eq!(self.client().job_over(job).await["state"], "SUCCEEDED");
    }

    /// The digest of the component that decides about a job.
    async fn pinned(&self, job: &str) -> Value {
        self.client().step(job, "ocr").await["plugin"]["digest"].clone()
    }

    /// What is live is one of the generations that there could be, as a whole, and all of status says the same.
    async fn is_whole(&self) -> anyhow::Result<usize> {
        let status = self.status().await;
        let generation = status["generation"]
            .as_u64()
            .and_then(|it| usize::try_from(it).ok());
        let generation = generation.unwrap_or_default();
        assert_eq!(
            status["generation"], status["latest_generation"],
            "{status}"
        );
        assert_eq!(
            status["plugins"].as_array().map(Vec::len),
            Some(1),
            "{status}"
        );
        assert_eq!(
            status["plugins"][0]["digest"],
            *self.releases[generation - 1],
            "{status}"
        );
        let said = self.host.lucius(&["registry", "status"]);
        let said = said.ended().await.expect(0).stdout;
        assert!(
            said.starts_with(&format!("generation {generation}, live since")),
            "{said}"
        );
        // Under its digest a file is whole, whatever was being written when the host died.
        for file in std::fs::read_dir(self.host.data().join("components"))? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let bytes = std::fs::read(file.path())?;
            let digest = hex(&bytes);
            assert!(
                name == digest || name.ends_with(".part"),
                "{name} holds other bytes"
            );
        }
        Ok(generation)
    }

    /// Dies at a place of an act, unless that is over before. What was answered is as durable as a 202.
    async fn die(&mut self, act: &Act, (offset, moment): Place) -> Death {
        self.disk.kill_at(self.disk.count() + offset, moment);
        let answered = self.act(act).await.is_some();
        if !answered {
            self.host.ended().await;
        }
        let died = !self.host.is_alive();
        self.disk.spare();
        self.host.kill();
        Death { died, answered }
    }

    /// One of the two generations is live, the new one if the host had said so.
    async fn is_old_or_new(&self, before: usize, death: &Death) -> anyhow::Result<usize> {
        let live = self.is_whole().await?;
        let fits = live == before + 1 || (live == before && !death.answered);
        assert!(fits, "{live} after {before}, {death:?}");
        Ok(live)
    }

    /// The jobs of before and of now are done under what they were accepted with.
    async fn jobs_go_on(&self, tenant: &str, before: &str, digests: [&String; 2]) {
        assert_eq!(self.pinned(before).await, *digests[0]);
        self.end(tenant, before).await;
        let job = self.job(tenant, "after").await;
        assert_eq!(self.pinned(&job).await, *digests[1]);
        self.end(tenant, &job).await;
    }
}

/// How the host ended.
#[derive(Debug)]
struct Death {
    /// False when the act was over before its place to die came.
    died: bool,
    answered: bool,
}

/// Most places were reached: what goes on beside an act falls now into its time and now not.
fn are_enough(deaths: usize, places: &[Place]) {
    let all = places.len();
    assert!(deaths * 10 >= all * 8, "{deaths} deaths in {all} places");
}

#[tokio::test]
async fn killed_anywhere_in_a_reload_the_old_generation_serves_or_the_new_one_and_status_says_which()
-> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    let next = stage.publish()?;
    stage.releases.push(next);
    let operations = stage.operations(&Act::Reload).await;
    let synced = |folder: &str| {
        operations
            .iter()
            .any(|it| it.what == "sync" && it.file.starts_with(folder))
    };
    assert!(
        synced("components") && synced("ledger.db"),
        "{operations:?}"
    );
    let places = places(&operations);

    let (mut deaths, mut news) = (0, 0);
    for (number, place) in places.iter().enumerate() {
        let before = stage.releases.len();
        let tenant = format!("tenant {number}");
        let job = stage.job(&tenant, "before").await;
        let next = stage.publish()?;
        stage.releases.push(next);
        let death = stage.die(&Act::Reload, *place).await;
        deaths += usize::from(death.died);

        let manifest = stage.registry.manifest.take();
        std::fs::write(stage.registry.path().join("registry.json"), "{ \"schema")?;
        stage.host.start_again().await;
        let status = stage.status().await;
        assert_eq!(status["degraded"], true);
        assert_eq!(status["last_reload"]["errors"][0]["entry"], "registry.json");
        let live = stage.is_old_or_new(before, &death).await?;
        news += live - before;
        let digests = [before, live].map(|number| &stage.releases[number - 1]);
        stage.jobs_go_on(&tenant, &job, digests).await;

        stage.registry.manifest = manifest;
        stage.registry.write()?;
        assert!(stage.act(&Act::Reload).await.is_some());
        let live = stage.is_whole().await?;
        assert_eq!(live, before + 1, "it is one, however often it was begun");
        assert_eq!(stage.status().await["degraded"], false);
    }
    assert!((1..places.len()).contains(&news), "{news} in {places:?}");
    are_enough(deaths, &places);
    Ok(())
}

#[tokio::test]
async fn killed_anywhere_in_a_rollback_the_live_generation_serves_or_the_one_gone_back_to()
-> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    let second = stage.publish()?;
    stage.releases.push(second.clone());
    assert!(stage.act(&Act::Reload).await.is_some());
    let first = stage.releases[0].clone();
    stage.releases.push(first.clone());
    let places = places(&stage.operations(&Act::RollBack(1)).await);
    let mut deaths = 0;
    for place in &places {
        // From one of the two releases back to the other.
        let before = stage.releases.len();
        let (to, other) = match stage.releases[before - 1] == first {
            true => (2, &second),
            false => (1, &first),
        };
        stage.releases.push(other.clone());
        let death = stage.die(&Act::RollBack(to), *place).await;
        deaths += usize::from(death.died);
        stage.host.start_again().await;
        let live = stage.is_old_or_new(before, &death).await?;
        assert_eq!(stage.status().await["degraded"], false);
        stage.releases.truncate(live);
    }
    are_enough(deaths, &places);
    Ok(())
}
