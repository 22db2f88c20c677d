// `node openai.mjs TASK PROMPT` does one task with the OpenAI client and prints in JSON what it met.
// The client finds the address and the key in its environment.
import { EventSourceParserStream } from "eventsource-parser/stream";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const [task, prompt] = process.argv.slice(2);
const messages = [{ role: "user", content: prompt }];

async function streamed(model, onChunk) {
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const chunk of stream) onChunk(chunk);
}

async function caught(attempt) {
  try {
    await attempt();
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code };
  }
  return { name: null };
}

const tasks = {
  async chat() {
    const whole = await client.chat.completions.create({ model: "demo", messages });
    let text = "";
    await streamed("demo", (chunk) => (text += chunk.choices[0].delta.content ?? ""));
    return { whole: whole.choices[0].message.content, streamed: text };
  },
  // As the SDKs of Vercel and others read it: every event that the parser tells of has to be JSON.
  async parsed() {
    const response = await fetch(`${process.env.OPENAI_BASE_URL}/chat/completions`, {
      method: "POST",
      headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
      body: JSON.stringify({ model: "demo-slow", messages, stream: true }),
    });
    let comments = 0;
    const parser = new EventSourceParserStream({ onComment: () => (comments += 1) });
    const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(parser);
    let text = "";
    for await (const { data } of events) {
      if (data !== "[DONE]") text += JSON.parse(data).choices[0].delta.content ?? "";
    }
    return { text, comments };
  },
  async slow() {
    let text = "";
    await streamed("demo-slow", (chunk) => (text += chunk.choices[0].delta.content ?? ""));
    return { text };
  },
  // Tools, structured output and embeddings, as people try them first.
  async first() {
    const schema = {
      type: "object",
      properties: { city: { type: "string" }, days: { type: "integer" } },
      required: ["city", "days"],
      additionalProperties: false,
    };
    const asked = [{ role: "user", content: "Please call plan_trip." }];
    const tool = { name: "plan_trip", parameters: schema };
    const model = "demo";
    const chat = client.chat.completions.stream({
      model,
      messages: asked,
      tools: [{ type: "function", function: tool }],
    });
    const [call] = (await chat.finalChatCompletion()).choices[0].message.tool_calls;
    const response = client.responses.stream({
      model,
      input: asked,
      tools: [{ type: "function", strict: false, ...tool }],
    });
    const [item] = (await response.finalResponse()).output;
    const format = { type: "json_schema", name: "trip", schema };
    const structured = await client.responses.create({ model, input: prompt, text: { format } });
    const embedded = await client.embeddings.create({ model: "demo-embedding", input: [1, 2, 3] });
    return {
      chat: JSON.parse(call.function.arguments),
      response: JSON.parse(item.arguments),
      structured: JSON.parse(structured.output_text),
      dimensions: embedded.data[0].embedding.length,
      model: (await client.models.retrieve("of/demo")).id,
    };
  },
  async models() {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    return { models };
  },
  async unknown() {
    return caught(() => client.chat.completions.create({ model: "gpt-9", messages }));
  },
  async reset() {
    let chunks = 0;
    const error = await caught(() => streamed("demo-reset", () => (chunks += 1)));
    return { chunks, ...error };
  },
};

console.log(JSON.stringify(await tasks[task]()));
