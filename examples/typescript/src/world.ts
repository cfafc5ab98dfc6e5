/** A world on a server: the calls that a walk needs, typed from the .proto files. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { MessageTypeDefinition } from "@grpc/proto-loader";

import type { ErrorReason__Output } from "./generated/keepworld/v1/ErrorReason.js";
import type { ErrorStatus__Output } from "./generated/keepworld/v1/ErrorStatus.js";
import type { FieldViolations__Output } from "./generated/keepworld/v1/FieldViolations.js";
import type { Pace } from "./generated/keepworld/v1/Pace.js";
import type { StreamSessionRequest } from "./generated/keepworld/v1/StreamSessionRequest.js";
import type { StreamSessionResponse__Output } from "./generated/keepworld/v1/StreamSessionResponse.js";
import type { WorldServiceClient } from "./generated/keepworld/v1/WorldService.js";
import type { ProtoGrpcType } from "./generated/world_service.js";

export type Answer = StreamSessionResponse__Output;
export type Walk = grpc.ClientDuplexStream<StreamSessionRequest, Answer>;

const definitions = loadSync(["keepworld/v1/world_service.proto", "keepworld/v1/status.proto"], {
  includeDirs: [fileURLToPath(new URL("../../../proto", import.meta.url))],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { keepworld } = grpc.loadPackageDefinition(definitions) as unknown as ProtoGrpcType;

export class World {
  private constructor(
    private readonly client: WorldServiceClient,
    private readonly metadata: grpc.Metadata,
    readonly id: string,
    private readonly token: string,
    readonly used: string[],
    readonly ignored: string[],
  ) {}

  /** Open a world. `address` is host:port, or grpcs://host:port for an encrypted one; the key is KEEPWORLD_API_KEY. */
  static async open(
    address: string,
    wanted: { prompt: string; seed: number; width: number; height: number },
  ): Promise<World> {
    const [, scheme, target] = /^(?:(grpcs?):\/\/)?(.+)$/.exec(address) ?? [];
    if (!target) throw new RangeError(`an address looks like 127.0.0.1:7600, got '${address}'`);
    const roots = process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH;
    const credentials =
      scheme === "grpcs" ? grpc.credentials.createSsl(roots ? readFileSync(roots) : null) : grpc.credentials.createInsecure();
    const client = new keepworld.v1.WorldService(target, credentials, {
      "grpc.max_receive_message_length": 32 << 20, // one frame a message: raw 1080p with depth is 19 MB at most
      "grpc.keepalive_time_ms": 20_000,
    });
    const metadata = new grpc.Metadata();
    if (process.env.KEEPWORLD_API_KEY) metadata.set("authorization", `Bearer ${process.env.KEEPWORLD_API_KEY}`);
    const request = {
      requestId: randomUUID(), // asked again with the same one, a server gives the same answer, not a second world
      family: "diorama",
      prompt: wanted.prompt,
      seed: wanted.seed,
      size: { width: wanted.width, height: wanted.height },
    };
    return new Promise((resolve, reject) => {
      client.createSession(request, metadata, { deadline: Date.now() + 60_000 }, (error, response) => {
        if (response?.session) {
          resolve(new World(client, metadata, response.session.sessionId, response.token, response.used, response.ignored));
        } else {
          client.close();
          reject(explained(error));
        }
      });
    });
  }

  /** Begin to walk: write requests, read answers. Frames come as PNG files, at the given pace. */
  walk(pace: Pace): Walk {
    const stream = this.client.streamSession(this.metadata);
    stream.write({
      attach: { sessionId: this.id, token: this.token, config: { encoding: "IMAGE_ENCODING_PNG" }, pace },
    });
    return stream;
  }

  /** End the session; one that nobody ends would be kept for a while. Gives how many frames it came to. */
  async close(): Promise<number> {
    const request = { sessionId: this.id, token: this.token };
    return new Promise((resolve, reject) => {
      this.client.closeSession(request, this.metadata, { deadline: Date.now() + 10_000 }, (error, response) => {
        this.client.close();
        if (error) reject(explained(error));
        else resolve(response?.session?.frames ?? 0);
      });
    });
  }
}

/** What the server said, the field it did not like, and its reason: a stable word such as WORLD_CAPACITY. */
export function explained(error: unknown): Error {
  const failed = error as Partial<grpc.ServiceError>;
  const trailer = failed.metadata?.get("grpc-status-details-bin")[0];
  if (!Buffer.isBuffer(trailer)) return failed.details ? new Error(failed.details) : (error as Error);
  let [reason, field] = ["", ""];
  for (const { type_url: url, value } of decode<ErrorStatus__Output>("ErrorStatus", trailer).details as unknown as AnyOutput[]) {
    if (url.endsWith("/google.rpc.ErrorInfo")) reason = ` [${decode<ErrorReason__Output>("ErrorReason", value).reason}]`;
    if (url.endsWith("/google.rpc.BadRequest"))
      field = decode<FieldViolations__Output>("FieldViolations", value).fieldViolations[0]?.field ?? "";
  }
  return new Error(`${field} ${failed.details ?? ""}${reason}`.trim());
}

type AnyOutput = { type_url: string; value: Buffer };

function decode<Output>(name: string, data: Buffer): Output {
  const definition = definitions[`keepworld.v1.${name}`] as MessageTypeDefinition<object, object>;
  return definition.deserialize(data) as unknown as Output;
}
