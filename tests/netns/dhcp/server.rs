//! The server under test: the one place that says how it is started and told what to serve.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use vrouter::config::Config;
use vrouter::dhcp::{LeaseView, Service, Snapshot, Status};
use vrouter::kernel::{Kernel, Linux};
use vrouter::plan::find_links;

use crate::lab::Lab;

/// A DHCP service in a namespace of a lab.
pub(crate) struct Server {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Apply(Value, oneshot::Sender<Result<(), String>>),
    Leases(oneshot::Sender<Vec<LeaseView>>),
    Status(oneshot::Sender<Status>),
    Close,
}

impl Server {
    /// Starts the service in `namespace` with what `state` remembers, and serves `document`.
    pub(crate) fn start(lab: &Lab, namespace: &str, state: &Path, document: &Value) -> Self {
        let (orders, queue) = mpsc::unbounded_channel();
        let path = format!("/run/netns/{}", lab.name(namespace));
        let state = state.to_owned();
        let thread = thread::spawn(move || {
            nix::sched::setns(File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&state, queue));
        });
        let server = Self { orders: Some(orders), thread: Some(thread) };
        server.apply(document).unwrap();
        server
    }

    /// Serves `document` from now on.
    pub(crate) fn apply(&self, document: &Value) -> Result<(), String> {
        self.ask(|answer| Order::Apply(document.clone(), answer))
    }

    pub(crate) fn leases(&self) -> Vec<LeaseView> {
        self.ask(Order::Leases)
    }

    pub(crate) fn status(&self) -> Status {
        self.ask(Order::Status)
    }

    /// Ends the service in good order.
    pub(crate) fn close(mut self) {
        self.orders.as_ref().unwrap().send(Order::Close).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }

    /// Ends the service wherever it stands.
    pub(crate) fn kill(mut self) {
        self.orders = None;
        self.thread.take().unwrap().join().unwrap();
    }

    fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
        let (answer, answered) = oneshot::channel();
        self.orders.as_ref().unwrap().send(order(answer)).ok().unwrap();
        answered.blocking_recv().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(state: &Path, mut orders: mpsc::UnboundedReceiver<Order>) {
    let service = Service::open(state).unwrap();
    let mut kernel = Linux::open().unwrap();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Apply(document, answer) => {
                let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
                let observed = kernel.observe().await.unwrap();
                let links = find_links(config.interfaces(), observed.links.values());
                let snapshot = Arc::new(Snapshot::new(&config, &links));
                let _ = answer.send(service.apply(snapshot).await.map_err(|error| error.to_string()));
            }
            Order::Leases(answer) => {
                let _ = answer.send(service.leases());
            }
            Order::Status(answer) => {
                let _ = answer.send(service.status());
            }
            Order::Close => return service.close().await,
        }
    }
}
