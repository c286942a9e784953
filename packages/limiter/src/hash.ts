/**
 * Two independent 32-bit lanes over the parts of a key. Each lane is a bijection of the last part, so two keys that
 * differ in one numeric part never share both lanes; everything else collides with a chance of about 2^-58.
 */

export function mixHigh(lane: number, part: number): number {
  let h = lane ^ part;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

export function mixLow(lane: number, part: number): number {
  let h = (lane + Math.imul(part, 0x9e3779b1)) | 0;
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return h ^ (h >>> 15);
}

/** A text of any length as one lane. For what is hashed once, or short: about a nanosecond a character. */
export function foldHigh(lane: number, text: string): number {
  let h = lane;
  for (let at = 0; at < text.length; at++) h = Math.imul(h ^ (h >>> 15) ^ text.charCodeAt(at), 0x85ebca6b);
  return mixHigh(h, text.length);
}
