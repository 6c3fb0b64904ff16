import { describe, expect, it } from "vitest";
import { unwrapped } from "./outline";

describe("unwrapped", () => {
  it("goes on beyond the 180th meridian", () =>
    expect(
      unwrapped([
        [170, 1],
        [-179, 1],
        [-179, 2],
        [170, 1],
      ]),
    ).toEqual([
      [170, 1],
      [181, 1],
      [181, 2],
      [170, 1],
    ]));

  it("keeps a continent where it is when its ring begins beyond the meridian", () =>
    expect(
      unwrapped([
        [-178, 66],
        [-180, 65],
        [180, 65],
        [10, 40],
        [180, 69],
        [-180, 69],
        [-178, 66],
      ]).map(([lon]) => lon),
    ).toEqual([182, 180, 180, 10, 180, 180, 182]));

  it("leaves a ring around a pole", () => {
    const ring = [
      [-180, -80],
      [0, -75],
      [180, -80],
      [-180, -80],
    ];
    expect(unwrapped(ring)).toBe(ring);
  });
});
