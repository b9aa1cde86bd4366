import { describe, expect, test } from "vitest";
import { loginAt, safeNext } from "../src/lib/next";

const here = "https://arasul.local";

describe("goes on to a path of this appliance", () => {
  test.each([
    ["/", "/"],
    ["/logs", "/logs"],
    ["/n8n/workflow/7?tab=runs#end", "/n8n/workflow/7?tab=runs#end"],
    ["/minio/", "/minio/"],
    ["/api/docs", "/api/docs"],
    ["/logs?next=//evil.example", "/logs?next=//evil.example"],
    ["/%2f%2fevil.example", "/%2f%2fevil.example"],
    ["/n8n/../logs", "/logs"],
    ["/@evil.example", "/@evil.example"],
  ])("%s", (wanted, want) => expect(safeNext(wanted, here)).toBe(want));
});

// Proves AUTH-4: an address from elsewhere cannot lead elsewhere.
describe("goes to the overview instead of", () => {
  test.each([
    [null],
    [""],
    ["logs"],
    ["https://evil.example/"],
    ["HTTPS://arasul.local/logs"],
    ["//evil.example"],
    ["///evil.example"],
    ["/\\evil.example"],
    ["\\\\evil.example"],
    ["/\t/evil.example"],
    ["/\n/evil.example"],
    ["/\r/evil.example"],
    ["/\0/evil.example"],
    ["\t//evil.example"],
    [" //evil.example"],
    ["/.//evil.example"],
    ["/..//evil.example"],
    ["/a/..//evil.example"],
    ["/%2e//evil.example"],
    ["/a/%2e%2e//evil.example"],
    ["/a\\..\\\\evil.example"],
    ["javascript:alert(1)"],
    ["data:text/html,x"],
    ["/api/auth/logout"],
    ["/api/logs/download"],
    ["/login"],
    ["/login?next=/login"],
    ["/?next=/n8n/"],
  ])("%j", (wanted) => expect(safeNext(wanted, here)).toBe("/"));

  test("whatever comes out stays on this origin", () => {
    for (const prefix of ["/", "//", "/\\", "/.", "/..", "/%2e", "/;", "/@", "/:"])
      for (const middle of ["", "/", "\\", "//", "\t/", "/./", "/../"])
        expect(new URL(safeNext(prefix + middle + "evil.example/x", here), here + "/login").origin).toBe(here);
  });
});

test("the login is told where to go on to, and for the overview nothing", () => {
  expect(loginAt("/")).toBe("/login");
  expect(loginAt("/logs?a=b&c")).toBe("/login?next=%2Flogs%3Fa%3Db%26c");
  expect(safeNext(new URL(loginAt("/logs?a=b&c"), here).searchParams.get("next"), here)).toBe("/logs?a=b&c");
});
