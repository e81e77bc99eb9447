// The models of inference-service, as whoever is signed in may name them.

import { Failure } from './failure.js';
import { inferenceUrl } from './key-lines.js';
import { signedIn } from './rpc.js';
import { send } from './transport.js';

/** @typedef {{name: string}} Model */

/**
 * @param {AbortSignal} [signal]
 * @returns {Promise<Model[]>}
 */
export async function listModels(signal) {
  const url = `${inferenceUrl()}/tollgate.inference.v1.Inference/ListModels`;
  const answer = await signedIn((token) => send(url, {}, { token, signal })).catch((failure) => {
    throw ofInference(failure);
  });
  return answer.models ?? [];
}

/**
 * Says of which server it is, and what an operator can do: a browser doesn't tell a page why a call to another origin failed.
 * @param {unknown} failure
 */
export function ofInference(failure) {
  if (!(failure instanceof Failure) || failure.reason !== 'UNREACHABLE') return failure;
  const why =
    `The models' server at ${inferenceUrl()} can't be reached from this page. ` +
    `It may be down, or its TOLLGATE_CORS_ORIGINS doesn't name ${location.origin}.`;
  return new Failure('INFERENCE_UNREACHABLE', why, failure);
}

/**
 * A model to name in an example.
 * @param {string[]} patterns Those of the key; none: any model.
 * @param {Model[]} models Those that are known.
 */
export function exampleModel(patterns, models) {
  const exact = patterns.find((pattern) => !pattern.includes('*'));
  return exact || (patterns.length === 0 && models[0]?.name) || 'MODEL';
}
