// A client of Hongbao in TypeScript, with types that are generated from the document of the service:
//
//     make run                 # in another terminal: the service, with development calls
//     npm install openapi-fetch openapi-typescript typescript
//     npx openapi-typescript http://127.0.0.1:8080/openapi.json --output hongbao.ts
//     node generated_client.ts [http://127.0.0.1:8080]
//
// It repeats nothing: client.py shows which failures are to be repeated, and when.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./hongbao.ts";

type Problem = components["schemas"]["ProblemBody"];

const baseUrl = process.argv[2] ?? "http://127.0.0.1:8080";

/** What was answered; every problem is an error. */
function good<Data>({ data, error }: { data?: Data; error?: Problem }): Data {
  if (data === undefined) throw new Error(`${error?.code}: ${error?.detail} (${error?.request_id})`);
  return data;
}

async function clientOf(user: string): Promise<Client<paths>> {
  const body = { user_id: user, groups: ["family"] };
  const { token } = good(await createClient<paths>({ baseUrl }).POST("/v1/dev/token", { body }));
  return createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });
}

/** What Li sends and Wang gets. */
async function sendGrabAndOpen(): Promise<number> {
  const [li, wang] = await Promise.all(["li", "wang"].map((name) => clientOf(`${name}-${crypto.randomUUID()}`)));
  assert(li && wang);
  good(await li.POST("/v1/dev/top-up", { body: { amount_fen: 10_000, id: crypto.randomUUID() } }));

  // Li sends 88.88 yuan in 3 shares to the group.
  const made = good(
    await li.POST("/v1/envelopes", {
      body: { kind: "lucky", total_fen: 8_888, shares: 3, audience: { type: "group", id: "family" } },
    }),
  );
  const of = { params: { path: { id: made.id } } };
  const paid = good(await li.POST("/v1/envelopes/{id}/pay", of));
  assert.equal(paid.state, "active");

  // Wang grabs it and opens it. The field `outcome` tells which answer it is, to the compiler too.
  const grabbed = good(await wang.POST("/v1/envelopes/{id}/grab", of));
  if (grabbed.outcome !== "ready") throw new Error(`there is nothing to open: ${grabbed.outcome}`);
  const opened = good(await wang.POST("/v1/envelopes/{id}/open", { ...of, body: { ticket: grabbed.ticket } }));
  if (opened.outcome !== "opened") throw new Error(`it is ${opened.outcome}`);
  const detail = good(await wang.GET("/v1/envelopes/{id}", of));
  assert.equal(detail.mine?.amount_fen, opened.amount_fen);

  // A problem has a type as well: its code is one of those that the document lists.
  const { error } = await wang.POST("/v1/envelopes/{id}/pay", of);
  assert.equal(error?.code, "not_sender");

  // The share is in Wang's balance within a second.
  const { balance_fen } = await untilPaid(wang);
  assert.equal(balance_fen, opened.amount_fen);
  const page = good(await wang.GET("/v1/wallet/transfers", { params: { query: { limit: 1 } } }));
  assert.deepEqual(page.transfers.map(({ kind }) => kind), ["open"]);
  return opened.amount_fen;
}

async function untilPaid(user: Client<paths>): Promise<components["schemas"]["WalletView"]> {
  for (let left = 100; left > 0; left -= 1) {
    const wallet = good(await user.GET("/v1/wallet"));
    if (wallet.balance_fen > 0) return wallet;
    await sleep(100);
  }
  throw new Error("the share did not arrive within 10 s");
}

console.log(`wang has opened ${await sendGrabAndOpen()} fen`);
