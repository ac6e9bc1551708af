//! `teal demo`: everything on this machine. It uses the engine and the balancer as any other deployment would.

mod definition;

use super::drive::{self, Wish};
use super::load::{lost, tell};
use super::up::{CpuLimit, Door, Pair};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::load::{Load, LoadSettings};
use crate::printer::{self, Format, style};
use crate::runner::{Audience, End, Scene};
use crate::settings::{BalancerPlace, MarathonPlace, Places, SettingArgs};
use crate::show;
use crate::store::Store;
use crate::systems::Systems;
use anyhow::Context;
use clap::Args;
use definition::Oinker;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use teal_core::definition::Definition;
use teal_core::journal::{Entry, Outcome};
use teal_core::name::PoolId;

/// Show a deployment on this machine: engine, balancer, a sample service, live traffic, BLUE → GREEN
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Let GREEN never become healthy, to see teal roll back by itself
    #[arg(long)]
    bad_green: bool,
    /// Where its files go [default: a new folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
}

/// How long the traffic runs before GREEN comes, and after it has.
const CALM: Duration = Duration::from_secs(2);

/// Runs `teal demo`.
pub(crate) async fn run(places: &Places, args: DemoArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let stamp = crate::clock::stamp(crate::clock::now());
    let fresh = || std::env::temp_dir().join(format!("teal-demo-{stamp}-{}", std::process::id()));
    let folder = args.folder.clone().unwrap_or_else(fresh);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let pair = Pair::start(&folder, Door::open(any), any, None, CpuLimit::Quota).await?;
    let places = Places {
        marathon: MarathonPlace::at(format!("http://{}", pair.engine.address())),
        balancer: BalancerPlace::at(format!("http://{}", pair.proxy.admin_address())),
        state_dir: folder.clone(),
        output: places.output,
        settings: places.settings.clone(),
    };
    let stage = Stage {
        places,
        folder,
        overrides: args.settings.overrides(),
        interrupt,
    };
    let ended = stage.play(args.bad_green).await;
    pair.stop().await;
    ended
}

/// The demo's own world.
struct Stage {
    places: Places,
    folder: PathBuf,
    overrides: Vec<(String, String, String)>,
    interrupt: Interrupt,
}

impl Stage {
    async fn play(&self, bad_green: bool) -> Result<Exit, Failure> {
        say(&format!(
            "engine {}, balancer {}, files in {}",
            self.places.marathon.address(),
            self.places.balancer.address(),
            self.folder.display()
        ));
        say("BLUE is deployed: 3 oinkers, the first revision of the service");
        let blue = self.deploy("blue", Oinker::Good, None).await?;
        if blue != End::Outcome(Outcome::Completed) {
            return Ok(drive::exit(&blue));
        }
        let load = Arc::new(Load::start(self.traffic().await?));
        say("traffic begins; GREEN comes in a moment");
        self.calm().await;
        let green = if bad_green {
            Oinker::NeverHealthy
        } else {
            Oinker::Good
        };
        say("GREEN is deployed under that traffic");
        let end = self.deploy("green", green, Some(Arc::clone(&load))).await;
        self.calm().await;
        let load = Arc::into_inner(load).context("the load is shared")?;
        let outcome = load.stop().await;
        let end = end?;
        let lost = lost(&outcome, &self.database()).await?;
        self.tell(&outcome, lost);
        if outcome.totals.failed > 0 || lost > 0 {
            return Err(Failure::new(
                Exit::Internal,
                "the deployment dropped something: this is a bug of teal",
            ));
        }
        Ok(drive::exit(&end))
    }

    fn database(&self) -> PathBuf {
        self.folder.join("oinks.sqlite")
    }

    async fn calm(&self) {
        tokio::select! {
            () = tokio::time::sleep(CALM) => {}
            () = self.interrupt.wanted() => {}
        }
    }

    async fn deploy(
        &self,
        revision: &str,
        oinker: Oinker,
        load: Option<Arc<Load>>,
    ) -> Result<End, Failure> {
        let text = definition::write(&self.folder, revision, oinker, &self.database())?;
        let (definition, settings) =
            Definition::resolve(&text, &self.places.settings, &self.overrides).map_err(
                |problems| Failure::invalid("the demo's definition cannot be deployed", problems),
            )?;
        let store = Store::open(&self.places.state_dir)?;
        let systems = Systems::connect(&self.places)?;
        let id = drive::new_id(&definition.service);
        let lock = store.lock(&definition.service, &id)?;
        let wish = Wish {
            definition: &definition,
            settings: &settings,
            revision: Some(revision),
            replace: None,
        };
        let plan = drive::make_plan(&systems, &wish, id)
            .await?
            .context("the demo's revision runs already")?;
        let inner = show::audience(self.places.output);
        let text = self.places.output == Format::Text;
        let audience = Box::new(WithTraffic {
            inner,
            load,
            text,
            told: None,
        });
        let end =
            drive::begin_before(&self.places, &store, &systems, &plan, lock, audience).await?;
        if end == End::Interrupted {
            say("interrupted: everything of the demo ends here, and nothing goes on");
        }
        Ok(end)
    }

    async fn traffic(&self) -> Result<LoadSettings, Failure> {
        let systems = Systems::connect(&self.places)?;
        let pools = systems.balancer.observe(&[PoolId::from("oinker")]).await;
        let pools = pools.map_err(|error| Failure::balancer(&error))?;
        let listen = pools
            .first()
            .and_then(|pool| pool.listen.clone())
            .context("the pool listens nowhere")?;
        say(&format!("the service is at http://{listen}/"));
        Ok(LoadSettings {
            connections: 16,
            rate: Some(400.0),
            post_share: 0.25,
            sockets: 4,
            socket_hold: Duration::from_secs(1),
            slow: 4,
            slow_ms: 1_000,
            feeds: 4,
            feed_ms: 1_000,
            ..LoadSettings::against(&listen)?
        })
    }

    fn tell(&self, outcome: &crate::load::Outcome, lost: usize) {
        let acknowledged = outcome.acknowledged.len();
        if self.places.output == Format::Json {
            return printer::json_line(&serde_json::json!({
                "totals": outcome.totals, "acknowledged": acknowledged, "stored": acknowledged - lost,
            }));
        }
        tell(outcome, printer::data);
        let stored = format!("{} in the database", acknowledged - lost);
        let stored = if lost == 0 {
            style::green(stored)
        } else {
            style::red(stored)
        };
        printer::data(format!("oinks     acknowledged {acknowledged}, {stored}"));
        let report = Store::open(&self.places.state_dir)
            .ok()
            .and_then(|store| store.of_service(&"oinker".into()).pop());
        if let Some(past) = report {
            printer::data(format!(
                "report    {}",
                past.path.with_extension("report.json").display()
            ));
        }
    }
}

fn say(text: &str) {
    printer::talk(style::bold(format!("demo: {text}")));
}

/// Shows the traffic with the deployment.
struct WithTraffic {
    inner: Box<dyn Audience>,
    load: Option<Arc<Load>>,
    text: bool,
    told: Option<Instant>,
}

impl Audience for WithTraffic {
    fn entry(&mut self, entry: &Entry) {
        self.inner.entry(entry);
    }

    fn scene(&mut self, scene: &Scene<'_>) {
        if let Some(load) = &self.load {
            let now = load.snapshot();
            let line = format!(
                "traffic: {} sent, {} failed, {} oinks acknowledged",
                now.sent, now.failed, now.acknowledged
            );
            let due = self.told.is_none_or(|told| told.elapsed() >= CALM);
            if self.text && !printer::is_live() && due {
                self.told = Some(Instant::now());
                printer::talk(format_args!("{} {line}", crate::clock::time(scene.now)));
            }
            self.inner.aside(style::bold(line));
        }
        self.inner.scene(scene);
    }
}
