// The suite imports `globSync`, which Node 20 lacks and none of what is used here needs.
import * as fs from "node:fs";
import { register } from "node:module";

if (!("globSync" in fs)) {
  const filled = 'export * from "node:fs"; export const globSync = () => { throw new Error("not in this Node"); };';
  const url = "data:text/javascript," + encodeURIComponent(filled);
  const hook = `export const resolve = (name, context, next) =>
    name === "fs" && context.parentURL?.includes("/conformance/dist/")
      ? { url: ${JSON.stringify(url)}, format: "module", shortCircuit: true }
      : next(name, context);`;
  register("data:text/javascript," + encodeURIComponent(hook));
}
