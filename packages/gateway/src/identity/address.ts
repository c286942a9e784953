import { isIPv4, isIPv6 } from 'node:net';

/**
 * The prefix that stands for an address in limits: /32 of IPv4, /64 of IPv6. An IPv4-mapped address is unwrapped
 * first: otherwise a dual-stack listener would put every IPv4 caller into one /64 (CVE-2026-30827).
 * `unknown` for anything that is not an address.
 */
export function addressPrefix(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  if (isIPv4(address)) return address;
  const zone = address.indexOf('%');
  const bare = zone < 0 ? address : address.slice(0, zone);
  if (!isIPv6(bare)) return 'unknown';
  const groups = expand(bare.toLowerCase());
  if (groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff) {
    return `${groups[6]! >> 8}.${groups[6]! & 255}.${groups[7]! >> 8}.${groups[7]! & 255}`;
  }
  return `${groups
    .slice(0, 4)
    .map((g) => g.toString(16))
    .join(':')}::/64`;
}

/** The eight groups of a valid IPv6 address. */
function expand(address: string): number[] {
  const dotted = address.lastIndexOf('.') < 0 ? -1 : address.lastIndexOf(':') + 1;
  const text =
    dotted < 0
      ? address
      : address.slice(0, dotted) +
        address
          .slice(dotted)
          .split('.')
          .map((part) => Number(part).toString(16).padStart(2, '0'))
          .join('')
          .replace(/^(....)(....)$/, '$1:$2');
  const gap = text.indexOf('::');
  if (gap < 0) return text.split(':').map((g) => Number.parseInt(g, 16));
  const head = groupsOf(text.slice(0, gap));
  const tail = groupsOf(text.slice(gap + 2));
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

function groupsOf(text: string): number[] {
  return text === '' ? [] : text.split(':').map((g) => Number.parseInt(g, 16));
}
