// OpenAI's Node client against a base URL: one answer and one stream in each protocol, and an error.
// Run by tests/test_proxy_node.py: node openai_node.cjs BASE_URL IMAGE_DATA_URI
const { OpenAI } = require("openai");

const [baseURL, image] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "x", baseURL, maxRetries: 0 });
const messages = [{
  role: "user",
  content: [
    { type: "text", text: "Total?" },
    { type: "image_url", image_url: { url: image } },
  ],
}];
const input = [{
  role: "user",
  content: [
    { type: "input_text", text: "Total?" },
    { type: "input_image", image_url: image, detail: "auto" },
  ],
}];

async function main() {
  const said = [];
  const { data, response } = await client.chat.completions
    .create({ model: "m", messages }).withResponse();
  said.push(data.choices[0].message.content, response.headers.get("x-cropvlm"));
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
  }
  said.push(text, (await client.responses.create({ model: "m", input })).output_text);
  text = "";
  for await (const event of await client.responses.create({ model: "m", input, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  said.push(text);
  try {
    await client.models.list();
  } catch (error) {
    said.push(error.status);
  }
  console.log(JSON.stringify(said));
}

main();
