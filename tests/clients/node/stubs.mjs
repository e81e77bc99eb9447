// Generates the stubs that the tests import, from proto/: grpcurl reads the files, and protoc-gen-es is called as protoc would call it.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const { CLIENTS_GRPCURL: grpcurl, CLIENTS_PROTO: proto } = process.env;
const FILES = ["auth/v1/accounts", "auth/v1/admin", "inference/v1/inference"];

const named = FILES.flatMap((file) => ["-proto", `tollgate/${file}.proto`]);
const quietly = { stdio: ["ignore", "ignore", "inherit"] };
execFileSync(grpcurl, ["-import-path", proto, ...named, "-protoset-out", "descriptors.bin", "list"], quietly);
const protoFile = fromBinary(FileDescriptorSetSchema, readFileSync("descriptors.bin")).file;
const fileToGenerate = protoFile.map((file) => file.name).filter((name) => name.startsWith("tollgate/"));
const request = create(CodeGeneratorRequestSchema, { fileToGenerate, parameter: "target=js,import_extension=js", protoFile });
const plugin = join("node_modules", "@bufbuild", "protoc-gen-es", "bin", "protoc-gen-es");
const answer = execFileSync(process.execPath, [plugin], { input: toBinary(CodeGeneratorRequestSchema, request), maxBuffer: 1 << 26 });
const { error, file: generated } = fromBinary(CodeGeneratorResponseSchema, answer);
if (error) throw new Error(error);
for (const { name, content } of generated) {
  const path = join("stubs", name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
