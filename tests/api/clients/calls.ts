// Three calls through a client of openapi-fetch, typed by what openapi-typescript makes of the document.
import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

const [baseUrl, key] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
const purpose = "order-fulfilment";

const created = await client.POST("/v1/subjects", {
  body: { profile: { name: "Ada Lovelace", email: "ada@example.org" }, external_ids: { shop: "4711" }, purpose },
});
if (!created.data) throw new Error(created.error.detail);
const subject: string = created.data.id;

const fields = ["name", "email.masked"];
const read = await client.POST("/v1/read", { body: { subject, fields, purpose } });
if (!read.data || !("fields" in read.data)) throw new Error("not the answer for one subject");
const batch = await client.POST("/v1/read", { body: { subjects: [subject], fields, purpose } });
if (!batch.data || !("results" in batch.data)) throw new Error("not the answer for several subjects");

const found = await client.POST("/v1/subjects:search", { body: { match: { email: "ada@example.org" }, fields, purpose } });
if (!found.data) throw new Error(found.error.detail);
const matches: components["schemas"]["SubjectFields"][] = found.data.results;

const unknown = await client.POST("/v1/read", { body: { subject, fields: ["shoe_size"], purpose } });
console.log(
  JSON.stringify({
    revision: created.data.revision,
    read: read.data.fields,
    batch: batch.data.results.map((result) => result.fields),
    found: matches.map((match) => match.subject === subject),
    problem: unknown.error?.code,
  }),
);
