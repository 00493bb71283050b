//! What instances may reach. The rules do not name instances: their interfaces have names with a common beginning, so
//! nothing changes when one comes or goes.

use super::addresses::Subnet;
use crate::config::{DOORS_ADDRESS, Doors};
use crate::error::{NodeError, Step};
use serde_json::{Value, json};
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Link-local addresses, where clouds have their metadata and credentials.
const LINK_LOCAL: Subnet = Subnet {
    base: Ipv4Addr::new(169, 254, 0, 0),
    prefix: 16,
};

/// Our chains come before the host's own, whose acceptance is no end for a packet in other tables anyway.
const PRIORITY: i32 = -10;

/// Before anything else looks at a packet (nft(8), `raw`).
const PRIORITY_RAW: i32 = -300;

/// Where destinations are translated (nft(8), `dstnat`).
const PRIORITY_DSTNAT: i32 = -100;

/// Where source addresses are translated (nft(8), `srcnat`).
const PRIORITY_SRCNAT: i32 = 100;

/// What the rules are made from.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The table's name.
    pub table: String,
    /// Pattern of the instances' interfaces.
    pub interfaces: String,
    /// Addresses of instances.
    pub instances: Subnet,
    /// Further destinations they must not reach.
    pub blocked: Vec<Subnet>,
    /// Name servers they may ask wherever those are.
    pub resolvers: Vec<Ipv4Addr>,
    /// Where the platform listens for them.
    pub doors: Option<Doors>,
}

/// Puts the rules into force, in the place of former ones of the same table, in one transaction.
pub fn install(rules: &Rules) -> Result<(), NodeError> {
    nft(&commands(rules))
}

/// Removes the table. One that does not exist is fine.
pub fn remove(table: &str) -> Result<(), NodeError> {
    nft(&[add_table(table), delete_table(table)])
}

/// Whether the table is in force; one that cannot be looked at is taken to be.
pub fn stands(table: &str) -> Result<bool, NodeError> {
    let listed = Command::new("nft")
        .args(["list", "table", "inet", table])
        .env("LC_ALL", "C")
        .output()
        .step("start nft")?;
    let said = String::from_utf8_lossy(&listed.stderr);
    Ok(listed.status.success() || !said.contains("No such file or directory"))
}

fn add_table(table: &str) -> Value {
    json!({"add": {"table": {"family": "inet", "name": table}}})
}

fn delete_table(table: &str) -> Value {
    json!({"delete": {"table": {"family": "inet", "name": table}}})
}

/// The whole table as commands of nftables' JSON interface (libnftables-json(5)).
fn commands(rules: &Rules) -> Vec<Value> {
    // Adding first makes the deletion succeed when there was no table.
    let mut commands = vec![
        add_table(&rules.table),
        delete_table(&rules.table),
        add_table(&rules.table),
    ];
    for (name, kind, hook, priority) in [
        ("source", "filter", "prerouting", PRIORITY_RAW),
        ("doors", "nat", "prerouting", PRIORITY_DSTNAT),
        ("input", "filter", "input", PRIORITY),
        ("forward", "filter", "forward", PRIORITY),
        ("postrouting", "nat", "postrouting", PRIORITY_SRCNAT),
    ] {
        commands.push(json!({"add": {"chain": {
            "family": "inet", "table": rules.table, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": "accept",
        }}}));
    }
    let chains = [
        ("source", source(rules)),
        ("doors", doors(rules)),
        ("input", input(rules)),
        ("forward", forward(rules)),
        ("postrouting", postrouting(rules)),
    ];
    for (chain, expressions) in chains {
        for expression in expressions {
            commands.push(json!({"add": {"rule": {
                "family": "inet", "table": rules.table, "chain": chain, "expr": expression,
            }}}));
        }
    }
    commands
}

/// Packets come from the address of the interface they come in by, or not at all. The interfaces' own reverse path filter
/// says the same, unless the machine is set to a looser one, which the kernel then prefers (ip-sysctl, `rp_filter`).
fn source(rules: &Rules) -> Vec<Value> {
    let way_back = json!({"fib": {"result": "oif", "flags": ["saddr", "iif"]}});
    let none = json!({"match": {"op": "==", "left": way_back, "right": false}});
    vec![json!([from_instance(rules), none, drop()])]
}

/// The platform's doors: an address that leads nowhere else.
fn doors(rules: &Rules) -> Vec<Value> {
    let here = Subnet {
        base: DOORS_ADDRESS,
        prefix: 32,
    };
    let lead = |port: u16, door: u16| {
        let gateway = rules.instances.gateway().to_string();
        let to = json!({"dnat": {"family": "ip", "addr": gateway, "port": door}});
        json!([from_instance(rules), destination(here), tcp_port(port), to])
    };
    let doors = rules.doors.iter();
    doors
        .flat_map(|doors| [lead(80, doors.credentials), lead(443, doors.api)])
        .collect()
}

/// To the machine itself: answers to what it asked, the platform's doors by their own address, and questions to a name
/// server that runs on it.
fn input(rules: &Rules) -> Vec<Value> {
    let from = from_instance(rules);
    let mut chain = vec![json!([from, established(), accept()])];
    let gateway = destination(Subnet {
        base: rules.instances.gateway(),
        prefix: 32,
    });
    let led = json!({"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}});
    for door in rules.doors.iter().flat_map(|d| [d.credentials, d.api]) {
        chain.push(json!([from, led, gateway, tcp_port(door), accept()]));
    }
    chain.extend(
        name_servers(rules)
            .into_iter()
            .map(|question| prepend(&from, question)),
    );
    chain.push(json!([from, drop()]));
    chain
}

/// Through the machine: out to the internet and back, nothing else.
fn forward(rules: &Rules) -> Vec<Value> {
    let (from, to) = (from_instance(rules), to_instance(rules));
    let mut chain = vec![json!([from, to, drop()])];
    chain.push(json!([from, {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}}, drop()]));
    chain.extend(
        name_servers(rules)
            .into_iter()
            .map(|question| prepend(&from, question)),
    );
    for blocked in [LINK_LOCAL].iter().chain(&rules.blocked) {
        chain.push(json!([from, destination(*blocked), drop()]));
    }
    chain.push(json!([to, established(), accept()]));
    chain.push(json!([to, drop()]));
    chain
}

fn postrouting(rules: &Rules) -> Vec<Value> {
    let source = json!({"match": {"op": "==", "left": payload("ip", "saddr"), "right": prefix(rules.instances)}});
    let elsewhere = json!({"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": rules.interfaces}});
    let not_local =
        json!({"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": "lo"}});
    vec![json!([source, elsewhere, not_local, {"masquerade": null}])]
}

fn name_servers(rules: &Rules) -> Vec<Vec<Value>> {
    let port =
        |protocol| json!({"match": {"op": "==", "left": payload(protocol, "dport"), "right": 53}});
    rules
        .resolvers
        .iter()
        .flat_map(|server| {
            let to = destination(Subnet {
                base: *server,
                prefix: 32,
            });
            ["udp", "tcp"].map(|protocol| vec![to.clone(), port(protocol), accept()])
        })
        .collect()
}

fn tcp_port(port: u16) -> Value {
    json!({"match": {"op": "==", "left": payload("tcp", "dport"), "right": port}})
}

fn prepend(first: &Value, rest: Vec<Value>) -> Value {
    std::iter::once(first.clone()).chain(rest).collect()
}

fn from_instance(rules: &Rules) -> Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": rules.interfaces}})
}

fn to_instance(rules: &Rules) -> Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": rules.interfaces}})
}

fn established() -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}})
}

fn destination(subnet: Subnet) -> Value {
    json!({"match": {"op": "==", "left": payload("ip", "daddr"), "right": prefix(subnet)}})
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn prefix(subnet: Subnet) -> Value {
    json!({"prefix": {"addr": subnet.base.to_string(), "len": subnet.prefix}})
}

fn accept() -> Value {
    json!({"accept": null})
}

fn drop() -> Value {
    json!({"drop": null})
}

fn nft(commands: &[Value]) -> Result<(), NodeError> {
    let missing = |error| NodeError::Missing {
        feature: "the program `nft`",
        detail: format!("starting it: {error}; install the package nftables"),
    };
    let mut child = Command::new("nft")
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    let text = json!({"nftables": commands}).to_string();
    // Dropping the pipe ends the input. A child that ended early says why on its error output.
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().step("wait for nft")?;
    if output.status.success() && matches!(written, Some(Ok(()))) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    })
    .into_owned();
    Err(NodeError::step(
        "set the firewall rules with nft",
        said.trim(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_on_a_blocked_address_is_allowed_before_the_address_is_blocked() {
        let rules = Rules {
            table: "apron-test".to_owned(),
            interfaces: "test_*".to_owned(),
            instances: Subnet::DEFAULT,
            blocked: vec!["192.0.2.0/24".parse().unwrap()],
            resolvers: vec![Ipv4Addr::new(169, 254, 169, 254)],
            doors: None,
        };
        let chain: Vec<String> = forward(&rules).iter().map(Value::to_string).collect();
        let position = |needle: &str, verdict: &str| {
            chain
                .iter()
                .position(|rule| rule.contains(needle) && rule.contains(verdict))
                .unwrap()
        };
        assert_eq!(position("iifname", "drop"), 0);
        assert!(position("169.254.169.254", "accept") < position("169.254.0.0", "drop"));
        assert!(position("192.0.2.0", "drop") < chain.len());
        assert!(
            chain.last().unwrap().contains("oifname") && chain.last().unwrap().contains("drop")
        );
    }
}
