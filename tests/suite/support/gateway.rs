//! Three hosts: a client, a gateway whose firewall drops everything, and an inner host behind it.

use std::net::IpAddr;
use std::time::Duration;

use super::firewalld::{By, Firewalld};
use super::netns::{CLIENT, CLIENT_V6, Host, NO_ANSWER, SERVER, SERVER_V6, World};
use super::{PATIENCE, within};

/// The firewalls that grants are tested with, all of them in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    Nftables,
    /// In the kernel's nf_tables …
    IptablesNft,
    /// … and in its own tables.
    IptablesLegacy,
    /// firewalld, which has its rules in iptables …
    Firewalld,
    /// … or in nftables, where ours are then as well.
    FirewalldNft,
}

pub struct Gateway {
    /// Its server is the gateway.
    pub world: World,
    pub inner: Host,
    firewalld: Option<Firewalld>,
}

/// One connection: who connects, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub from: &'static str,
    pub to: (&'static str, u16),
}

impl Gateway {
    pub fn new(wall: Wall) -> Self {
        let world = World::new();
        let inner = world.server.neighbour("inn0", "srv1");
        world.server.configure_device("srv1", &[INNER_SIDE, INNER_SIDE_V6]);
        inner.configure(&[INNER, OTHER_INNER, INNER_V6]);
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            world.server.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
        }
        let firewalld = wall.drop(&world.server, "accept");
        Self { world, inner, firewalld }
    }

    /// The inner host answers everybody, by way of the gateway: without it, it answers only its own network.
    pub fn with_way_back(self) -> Self {
        self.inner.run("ip", &["route", "add", "default", "via", INNER_SIDE]);
        self.inner.run("ip", &["-6", "route", "add", "default", "via", INNER_SIDE_V6]);
        self
    }

    /// The client knows that the inner network is behind the gateway.
    pub fn with_way_in(self) -> Self {
        self.world.client.run("ip", &["route", "add", "10.72.0.0/24", "via", SERVER]);
        self.world.client.run("ip", &["-6", "route", "add", "fd72::/64", "via", SERVER_V6]);
        self
    }

    /// Replies need rules of their own as well.
    pub fn with_output_dropped(self, wall: Wall) -> Self {
        match &self.firewalld {
            // Its own rules let all replies out: an administrator must do this by hand.
            Some(firewalld) => {
                for (version, icmp) in [("ipv4", "icmp"), ("ipv6", "ipv6-icmp")] {
                    for rule in ["-j DROP", &format!("-p {icmp} -j ACCEPT")] {
                        let words = format!("--direct --passthrough {version} -I OUTPUT {rule}");
                        firewalld.cmd(&self.world.server, &words.split(' ').collect::<Vec<_>>());
                    }
                }
            }
            None => assert!(wall.drop(&self.world.server, "drop").is_none()),
        }
        self
    }

    /// The address under which the service sees the connection; `None` when there is none.
    pub fn connects(&self, way: Way) -> Option<String> {
        self.greeting("greeting", way, NO_ANSWER)
    }

    /// Waits for the way to open.
    pub fn opens(&self, way: Way) -> Option<String> {
        self.wait_for("greeting", way)
    }

    /// Waits for it with the connection that is kept.
    pub fn opens_and_holds(&self, way: Way) -> Option<String> {
        self.wait_for("hold", way)
    }

    fn wait_for(&self, request: &str, way: Way) -> Option<String> {
        let mut seen = None;
        within(PATIENCE, || {
            seen = self.greeting(request, way, Duration::from_millis(300));
            seen.is_some()
        });
        seen
    }

    /// Connects and keeps the connection, for [`holds`](Self::holds).
    pub fn hold(&self, way: Way) -> Option<String> {
        self.greeting("hold", way, NO_ANSWER)
    }

    /// Whether bytes still go there and back.
    pub fn holds(&self) -> bool {
        self.world.client.ask(&format!("held {}", NO_ANSWER.as_millis())) == "true"
    }

    /// The same for a datagram from a port that was never used.
    pub fn answers(&self, way: Way) -> Option<String> {
        self.greeting("ask-udp", way, NO_ANSWER)
    }

    /// Waits for an answer.
    pub fn answers_at_last(&self, way: Way) -> Option<String> {
        self.wait_for("ask-udp", way)
    }

    /// Whether who was answered last is answered again.
    pub fn answers_again(&self) -> bool {
        self.world.client.try_ask(&format!("ask-udp-again {}", NO_ANSWER.as_millis())).is_ok()
    }

    fn greeting(&self, request: &str, way: Way, limit: Duration) -> Option<String> {
        let Way { from, to: (to, port) } = way;
        let request = format!("{request} {from} {to} {port} {}", limit.as_millis());
        self.world.client.try_ask(&request).ok()
    }
}

impl Wall {
    pub const ALL: [Wall; 4] = [Wall::Nftables, Wall::IptablesNft, Wall::IptablesLegacy, Wall::Firewalld];

    /// An administrator's rules, as he would write them: everything is dropped but what is established. Of firewalld they are
    /// there for as long as it is.
    pub fn drop(self, host: &Host, output: &str) -> Option<Firewalld> {
        match self {
            Wall::Firewalld => return Some(Firewalld::start(host, By::Iptables)),
            Wall::FirewalldNft => return Some(Firewalld::start(host, By::Nftables)),
            Wall::Nftables => {
                let rules = NFTABLES.replace("OUTPUT", output);
                host.feed("nft", &["-f", "-"], &rules);
            }
            Wall::IptablesNft | Wall::IptablesLegacy => {
                for (version, icmp) in [("iptables", "icmp"), ("ip6tables", "ipv6-icmp")] {
                    let rules = IPTABLES.replace("OUTPUT_POLICY", &output.to_uppercase()).replace("ICMP", icmp);
                    host.feed(&format!("{version}-{}-restore", self.variant()), &[], &rules);
                }
            }
        }
        None
    }

    /// All that is in it, without what counts or runs out.
    pub fn rules(self, host: &Host) -> String {
        if self.is_narrow() {
            return host.run("nft", &["-s", "list", "ruleset"]);
        }
        let saved =
            ["iptables", "ip6tables"].map(|version| host.run(&format!("{version}-{}-save", self.variant()), &[]));
        // Tables that iptables makes when it looks into them are empty.
        let rules = saved.iter().flat_map(|saved| saved.lines()).filter(|line| line.starts_with("-A"));
        rules.map(|rule| format!("{rule}\n")).collect()
    }

    /// All of them at once.
    pub fn each(prove: impl Fn(Wall) + Sync) {
        Self::each_of(&Wall::ALL, prove);
    }

    pub fn each_of(walls: &[Wall], prove: impl Fn(Wall) + Sync) {
        std::thread::scope(|scope| {
            for wall in walls.iter().copied() {
                let prove = &prove;
                scope.spawn(move || prove(wall));
            }
        });
    }

    /// Of iptables.
    pub fn variant(self) -> &'static str {
        if self == Wall::IptablesLegacy { "legacy" } else { "nft" }
    }

    /// It opens no more than is asked for. The rules of the original open more (`docs/differences.md`), and ours are the
    /// same.
    pub fn is_narrow(self) -> bool {
        matches!(self, Wall::Nftables | Wall::FirewalldNft)
    }

    /// What `fwknopd.conf` says about it.
    pub fn conf(self) -> &'static str {
        match self {
            Wall::Nftables | Wall::FirewalldNft => "",
            Wall::Firewalld => "FIREWALL firewalld;\n",
            Wall::IptablesNft => "FIREWALL iptables;\n",
            Wall::IptablesLegacy => "FIREWALL_EXE /usr/sbin/iptables-legacy;\n",
        }
    }
}

/// From the client's address to a service of the gateway, or of the inner host.
pub fn to_gateway(port: u16) -> Way {
    Way { from: CLIENT, to: (SERVER, port) }
}

pub fn to_inner(port: u16) -> Way {
    Way { from: CLIENT, to: (INNER, port) }
}

pub fn to_gateway_v6(port: u16) -> Way {
    Way { from: CLIENT_V6, to: (SERVER_V6, port) }
}

impl Way {
    pub fn is_v6(&self) -> bool {
        self.from.parse::<IpAddr>().expect("an address").is_ipv6()
    }
}

pub const INNER: &str = "10.72.0.2";
pub const OTHER_INNER: &str = "10.72.0.3";
pub const INNER_V6: &str = "fd72::2";
/// The gateway, as the inner host sees it.
pub const INNER_SIDE: &str = "10.72.0.1";
pub const INNER_SIDE_V6: &str = "fd72::1";

const IPTABLES: &str = "\
*filter
:INPUT DROP
:FORWARD DROP
:OUTPUT OUTPUT_POLICY
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -p ICMP -j ACCEPT
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -p ICMP -j ACCEPT
COMMIT
";

const NFTABLES: &str = "
    flush ruleset
    table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            iif lo accept
            ct state established,related accept
            meta l4proto ipv6-icmp accept
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
        }
        chain output {
            type filter hook output priority filter; policy OUTPUT;
            meta l4proto ipv6-icmp accept
        }
    }
";
