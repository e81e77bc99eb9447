// A chat with a key: streamed, with the receipt, and with a typed reason where it is refused.
//
//   npm ci && mkdir stubs && curl -s http://127.0.0.1:50051/descriptors.pb -o descriptors.pb
//   protoc --descriptor_set_in=descriptors.pb --plugin=node_modules/.bin/protoc-gen-es --es_out=stubs \
//     --es_opt=target=ts,import_extension=js error_details.proto tollgate/error/v1/error_reason.proto tollgate/inference/v1/inference.proto
//   npx tsc && TOLLGATE_API_KEY=tg_… node build/chat.js smollm2 "Why is the sky blue?"
import { argv, env, exit, stdout } from "node:process";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "./stubs/error_details_pb.js";
import { ErrorReason } from "./stubs/tollgate/error/v1/error_reason_pb.js";
import { Inference } from "./stubs/tollgate/inference/v1/inference_pb.js";

const [model, content] = argv.slice(2);
const inference = createClient(Inference, createGrpcTransport({ baseUrl: env.TOLLGATE_URL ?? "http://127.0.0.1:50052" }));
const headers = { authorization: `Bearer ${env.TOLLGATE_API_KEY}` };

try {
  for await (const { event } of inference.chat({ model, messages: [{ role: "user", content }] }, { headers })) {
    if (event.case === "delta") stdout.write(event.value.content);
    if (event.case === "finished" && event.value.receipt) {
      const { chargedCredits, remainingCredits } = event.value.receipt;
      console.log(`\n${chargedCredits} charged, ${remainingCredits} left`);
    }
  }
} catch (error) {
  console.error(explained(ConnectError.from(error)));
  exit(1);
}

// What to do about an error, by its reason.
function explained(error: ConnectError): string {
  const reason = reasonOf(error);
  switch (reason) {
    case ErrorReason.INSUFFICIENT_CREDITS:
      return "INSUFFICIENT_CREDITS: ask an operator for more";
    case undefined:
      return `${Code[error.code]}: ${error.rawMessage}`;
    default:
      return `${ErrorReason[reason]}: ${error.rawMessage}`;
  }
}

// Undefined: the error is not Tollgate's, as where no server is.
function reasonOf(error: ConnectError): ErrorReason | undefined {
  const [info] = error.findDetails(ErrorInfoSchema);
  return info && ErrorReason[info.reason as keyof typeof ErrorReason];
}
