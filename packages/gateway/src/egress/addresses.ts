/** Where an address leads, by the registries of special-purpose addresses (RFC 6890) as of November 2026. */
import { BlockList, isIPv4, isIPv6 } from 'node:net';

/**
 * `public`: anywhere on the internet. `private`: inside somebody's network. `loopback`: this machine. `never`: nothing
 * that a document could be fetched from, or another way of writing one of the others.
 */
export type Reach = 'public' | 'private' | 'loopback' | 'never';

const PRIVATE_4 = list4(['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16']);
const LOOPBACK_4 = list4(['127.0.0.0/8']);
const NEVER_4 = list4([
  '0.0.0.0/8', // this network
  '169.254.0.0/16', // link-local; the metadata services of clouds
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', // documentation
  '192.31.196.0/24', // AS112
  '192.52.193.0/24', // AMT
  '192.88.99.0/24', // 6to4 relays
  '192.175.48.0/24', // AS112
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, broadcast
]);

/** All of IPv6 but 2000::/3 is something else than a host of the internet, so only what is in it can be public. */
const GLOBAL_6 = list6(['2000::/3']);
const LOOPBACK_6 = list6(['::1/128']);
const PRIVATE_6 = list6(['fc00::/7']);
const NEVER_6 = list6([
  '2001::/23', // protocol assignments: Teredo, benchmarks, ORCHID
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4, which carries any IPv4 address
  '2620:4f:8000::/48', // AS112
  '3fff::/20', // documentation
]);

/** Two lists, because one that holds mapped IPv6 networks would match every IPv4 address. */
function list4(networks: readonly string[]): BlockList {
  return listOf(networks, 'ipv4');
}

function list6(networks: readonly string[]): BlockList {
  return listOf(networks, 'ipv6');
}

function listOf(networks: readonly string[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix] = network.split('/');
    list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

/**
 * Where a canonical IPv4 or IPv6 address leads. What is no address, has a zone, or carries an IPv4 address inside an
 * IPv6 one (mapped, compatible, NAT64, 6to4, Teredo) is `never`: it could mean a host that its own form does not show.
 */
export function reachOf(address: string): Reach {
  if (isIPv4(address)) {
    if (NEVER_4.check(address, 'ipv4')) return 'never';
    if (LOOPBACK_4.check(address, 'ipv4')) return 'loopback';
    return PRIVATE_4.check(address, 'ipv4') ? 'private' : 'public';
  }
  if (!isIPv6(address) || address.includes('%')) return 'never';
  if (LOOPBACK_6.check(address, 'ipv6')) return 'loopback';
  if (PRIVATE_6.check(address, 'ipv6')) return 'private';
  return GLOBAL_6.check(address, 'ipv6') && !NEVER_6.check(address, 'ipv6') ? 'public' : 'never';
}
