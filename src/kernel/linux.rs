//! The real kernel: steps carried out over netlink and `/proc/sys`, and read back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::announce::{Announcement, Announcer};
use super::events::OwnPorts;
use super::netlink::{NETLINK_NETFILTER, NETLINK_ROUTE, Netlink};
use super::nftables::Nftables;
use super::{Kernel, KernelError, StepResult, capabilities, conntrack, link, route, sysctl, way};
use crate::clock;
use crate::plan::facts::{Capabilities, Name, Observed, Route, Sysctl, TableSeen, WayAnswer, WayQuestion};
use crate::plan::step::{Plan, Step};

/// Up to so many routes are read back one by one; more are read with all of ours.
const READ_ONE_BY_ONE: usize = 32;

/// The kernel of this network namespace. It belongs to one task, and its calls wait for the kernel.
pub struct Linux {
    route: Netlink,
    conntrack: Netlink,
    nftables: Nftables,
    announcer: Announcer,
    macs: BTreeMap<u32, [u8; 6]>,
}

impl std::fmt::Debug for Linux {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linux").finish_non_exhaustive()
    }
}

impl Linux {
    /// Opens what is needed to speak to the kernel. Has to be called in a runtime.
    ///
    /// # Errors
    /// A socket cannot be had, for lack of rights or of a kernel feature that nothing works without.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self {
            route: Netlink::open(NETLINK_ROUTE)?,
            conntrack: Netlink::open(NETLINK_NETFILTER)?,
            nftables: Nftables::open()?,
            announcer: Announcer::open()?,
            macs: BTreeMap::new(),
        })
    }

    /// What the kernel can do.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn capabilities(&mut self) -> Result<Capabilities, KernelError> {
        let mut capabilities = Capabilities {
            log_group: capabilities::log_group(),
            conntrack_size: sysctl::is_writable(&Sysctl::Namespace("netfilter/nf_conntrack_max")),
            vlan: capabilities::has_kind(&mut self.route, "vlan")?,
            vrf: capabilities::has_kind(&mut self.route, "vrf")?,
            wireguard: capabilities::has_kind(&mut self.route, "wireguard")?,
            ..Capabilities::default()
        };
        self.nftables.capabilities(&mut capabilities)?;
        Ok(capabilities)
    }

    /// The numbers by which the kernel names this process in what it tells of changes.
    #[must_use]
    pub fn ports(&self) -> OwnPorts {
        OwnPorts { route: self.route.port(), nftables: self.nftables.port() }
    }

    fn take(&mut self, step: &Step) -> Result<(), KernelError> {
        match step {
            Step::SetSysctl(sysctl, value) => sysctl::write(sysctl, value),
            Step::AddVlan(device, vlan) => link::add_vlan(&mut self.route, device, vlan),
            Step::RemoveLink(device) => link::remove(&mut self.route, device),
            Step::SetLink(device, settings) => link::set(&mut self.route, device, *settings),
            Step::AddAddress(device, address) => link::add_address(&mut self.route, device, *address),
            Step::RemoveAddress(device, address) => {
                self.announcer.withdraw([(device.index, address.addr())]);
                link::remove_address(&mut self.route, device, *address)
            }
            Step::AddRoutes(routes) => route::add(&mut self.route, routes),
            Step::RemoveRoutes(routes) => {
                self.announcer.withdraw(routes.iter().filter_map(|(key, route)| match route {
                    Route::Local(device) => Some((device.index, key.destination.addr())),
                    _ => None,
                }));
                route::remove(&mut self.route, routes)
            }
            Step::AddRule(rule) => route::add_rule(&mut self.route, rule),
            Step::RemoveRule(rule) => route::remove_rule(&mut self.route, rule),
            Step::ChangeTable(changes) => self.nftables.change(changes),
            Step::FlushConntrack(matches) => {
                let ended = conntrack::flush(&mut self.conntrack, matches)?;
                tracing::debug!(mappings = matches.len(), connections = ended, "connections ended");
                Ok(())
            }
            Step::Announce(addresses) => {
                let known = |(device, address): &(crate::plan::facts::Device, Ipv4Addr)| {
                    let mac = self.macs.get(&device.index).copied()?;
                    Some(Announcement { index: device.index, mac, address: *address })
                };
                self.announcer.announce(addresses.iter().filter_map(known));
                Ok(())
            }
        }
    }

    fn observe_links(&mut self) -> Result<BTreeMap<u32, crate::plan::facts::Link>, KernelError> {
        let links = link::observe(&mut self.route)?;
        self.macs = links.values().filter_map(|link| Some((link.device.index, link.mac?))).collect();
        Ok(links)
    }
}

impl Kernel for Linux {
    async fn observe(&mut self) -> Result<Observed, KernelError> {
        let table = self.nftables.observe()?;
        self.observe_around(table).await
    }

    async fn observe_around(&mut self, table: Option<TableSeen>) -> Result<Observed, KernelError> {
        let links = self.observe_links()?;
        Ok(Observed {
            sysctls: BTreeMap::new(),
            addresses: link::observe_addresses(&mut self.route, &links)?,
            routes: route::observe(&mut self.route, &links)?,
            rules: route::observe_rules(&mut self.route)?,
            table,
            links,
        })
    }

    async fn look(&mut self) -> Result<Observed, KernelError> {
        // Another reader, so that this one still knows which generation it read.
        let table = Nftables::open()?.observe()?;
        self.observe_around(table).await
    }

    fn read_sysctls(&mut self, sysctls: &[Sysctl]) -> Result<BTreeMap<Sysctl, String>, KernelError> {
        sysctl::observe(sysctls)
    }

    fn is_stale(&mut self) -> Result<bool, KernelError> {
        self.nftables.is_stale()
    }

    fn way(&mut self, question: &WayQuestion) -> Result<Option<WayAnswer>, KernelError> {
        way::ask(&mut self.route, question).map(Some)
    }

    fn remembered(&mut self, map: &Name, source: Ipv4Addr) -> Result<Option<(Ipv4Addr, u16)>, KernelError> {
        self.nftables.remembered(map, source)
    }

    async fn execute(&mut self, plan: &Plan) -> Vec<StepResult> {
        let mut results = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let begin = clock::moment();
            let error = self.take(step).err();
            let failed = error.is_some();
            results.push(StepResult {
                step: step.summary(),
                count: step.count(),
                took: begin.elapsed(),
                error,
            });
            if failed {
                break;
            }
        }
        results
    }

    async fn read_back(&mut self, before: &Observed, plan: &Plan) -> Result<Observed, KernelError> {
        let mut after = before.clone();
        let (mut links, mut addresses, mut routes, mut rules) = (false, false, false, false);
        for step in &plan.steps {
            match step {
                Step::SetSysctl(sysctl, _) => {
                    after.sysctls.extend(sysctl::observe(std::slice::from_ref(sysctl))?)
                }
                // A link that comes up, and an address that goes, take routes with them or bring some.
                Step::SetLink(..) => (links, routes) = (true, true),
                Step::AddVlan(..) => links = true,
                Step::RemoveLink(_) => (links, addresses, routes) = (true, true, true),
                Step::AddAddress(..) | Step::RemoveAddress(..) => (addresses, routes) = (true, true),
                Step::AddRoutes(some) | Step::RemoveRoutes(some) => {
                    routes |= some.len() > READ_ONE_BY_ONE
                        || !some.iter().all(|(key, _)| route::is_read_alone(key));
                }
                Step::AddRule(_) | Step::RemoveRule(_) => rules = true,
                _ => {}
            }
        }
        if links {
            after.links = self.observe_links()?;
        }
        if addresses {
            after.addresses = link::observe_addresses(&mut self.route, &after.links)?;
        }
        if rules {
            after.rules = route::observe_rules(&mut self.route)?;
        }
        if routes {
            after.routes = route::observe(&mut self.route, &after.links)?;
        }
        for step in &plan.steps {
            match step {
                Step::AddRoutes(some) | Step::RemoveRoutes(some) if !routes => {
                    for (key, _) in some {
                        match route::read(&mut self.route, key, &after.links)? {
                            Some(route) => after.routes.insert(*key, route),
                            None => after.routes.remove(key),
                        };
                    }
                }
                Step::ChangeTable(changes) => {
                    after.table = self.nftables.read_back(before.table.as_ref(), changes)?;
                }
                _ => {}
            }
        }
        Ok(after)
    }
}
