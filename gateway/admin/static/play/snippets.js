// The question as a program: curl, Python, JavaScript. The token is a placeholder.

export const LANGUAGES = { curl: "curl", python: "Python", javascript: "JavaScript" };

/**
 * The text of a program that asks the same: { url: the whole address, name and api of APIS, body,
 * extra: fields that SDKs do not know, file }.
 */
export function snippet(language, asked) {
  return { curl, python, javascript }[language](asked);
}

const shell = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
const fields = ({ body }) => Object.entries(body);

function curl({ url, api, body: own, extra, file }) {
  const body = { ...own, ...extra };
  const parts = [`curl -N ${shell(url)}`, `-H "Authorization: Bearer $TOKEN"`];
  for (const [name, value] of Object.entries(api.headers ?? {})) parts.push(`-H ${shell(`${name}: ${value}`)}`);
  if (api.takesFile) {
    parts.push(`-F ${shell(`file=@${file?.name ?? "speech.wav"}`)}`, ...fields({ body }).map(([name, value]) => `-F ${shell(`${name}=${value}`)}`));
  } else parts.push("-H 'Content-Type: application/json'", `-d ${shell(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

/** A value as Python writes it. */
function literal(value) {
  if (value === null || value === undefined) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value) ? value.map((one) => literal(one))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`);
  return `${open}${parts.join(", ")}${close}`;
}

/** The address an SDK is given: it appends the API's own path. */
const sdkBase = (url, { path }) => url.slice(0, -path.length).replace(/\/$/, "");

const CALLS = { chat: "chat.completions.create", responses: "responses.create", image: "images.generate", transcript: "audio.transcriptions.create" };

function python({ url, api, name, body, extra, file }) {
  if (!CALLS[name]) return pythonHttp({ url, api, body: { ...body, ...extra } });
  const known = fields({ body }).map(([key, value]) => `    ${key}=${key === "stream" ? "True" : literal(value)},`);
  if (Object.keys(extra).length) known.push(`    extra_body=${literal(extra)},`);
  const given = api.takesFile ? [`    file=open(${JSON.stringify(file?.name ?? "speech.wav")}, "rb"),`, ...known] : known;
  const read = {
    chat: ["if chunk.choices:", "    print(chunk.choices[0].delta.content or \"\", end=\"\", flush=True)"],
    responses: ["if chunk.type == \"response.output_text.delta\":", "    print(chunk.delta, end=\"\", flush=True)"],
    image: ["with open(\"picture.png\", \"wb\") as picture:", "    picture.write(base64.b64decode(chunk.b64_json))"],
    transcript: ["if chunk.type == \"transcript.text.delta\":", "    print(chunk.delta, end=\"\", flush=True)"],
  }[name];
  return [
    ...(name === "image" ? ["import base64"] : []), "import os", "", "from openai import OpenAI", "",
    `client = OpenAI(base_url=${JSON.stringify(sdkBase(url, api))}, api_key=os.environ["TOKEN"])`,
    `stream = client.${CALLS[name]}(`, ...given, ")", "for chunk in stream:", ...read.map((line) => `    ${line}`),
  ].join("\n");
}

function pythonHttp({ url, api, body }) {
  return [
    "import os", "", "import httpx", "",
    `headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"${Object.entries(api.headers ?? {}).map(([name, value]) => `, ${JSON.stringify(name)}: ${JSON.stringify(value)}`).join("")}}`,
    `body = ${literal(body)}`,
    `with httpx.stream("POST", ${JSON.stringify(url)}, headers=headers, json=body, timeout=None) as response:`,
    "    for line in response.iter_lines():", "        print(line)",
  ].join("\n");
}

function javascript({ url, api, name, body: own, extra, file }) {
  const body = { ...own, ...extra };
  if (!CALLS[name]) return javascriptHttp({ url, api, body });
  const given = Object.fromEntries(fields({ body }).map(([key, value]) => [key, key === "stream" ? true : value]));
  const text = JSON.stringify(given, null, 2);
  const argument = api.takesFile ? text.replace("{", `{\n  "file": createReadStream(${JSON.stringify(file?.name ?? "speech.wav")}),`) : text;
  const read = {
    chat: "process.stdout.write(chunk.choices[0]?.delta?.content ?? \"\");",
    responses: "if (chunk.type === \"response.output_text.delta\") process.stdout.write(chunk.delta);",
    image: "writeFileSync(\"picture.png\", Buffer.from(chunk.b64_json, \"base64\"));",
    transcript: "if (chunk.type === \"transcript.text.delta\") process.stdout.write(chunk.delta);",
  }[name];
  const imported = { image: "import { writeFileSync } from \"node:fs\";", transcript: "import { createReadStream } from \"node:fs\";" }[name];
  return [
    ...(imported ? [imported] : []), "import OpenAI from \"openai\";", "",
    `const client = new OpenAI({ baseURL: ${JSON.stringify(sdkBase(url, api))}, apiKey: process.env.TOKEN });`,
    `const stream = await client.${CALLS[name]}(${argument});`, `for await (const chunk of stream) ${read}`,
  ].join("\n");
}

function javascriptHttp({ url, api, body }) {
  const headers = { "Content-Type": "application/json", ...api.headers };
  return [
    `const response = await fetch(${JSON.stringify(url)}, {`, "  method: \"POST\",",
    `  headers: { Authorization: \`Bearer \${process.env.TOKEN}\`, ...${JSON.stringify(headers)} },`,
    `  body: JSON.stringify(${JSON.stringify(body)}),`, "});",
    "const text = new TextDecoder();", "for await (const bytes of response.body) process.stdout.write(text.decode(bytes, { stream: true }));",
  ].join("\n");
}
