// Holds every board against Grafana's published types; `.ci/grafana/check` installs what this needs.
import Ajv from 'ajv';
import { readFileSync, readdirSync } from 'node:fs';
import { createGenerator } from 'ts-json-schema-generator';

const [boards] = process.argv.slice(2);
// Types of one name stand in several of Grafana's files, so none is shared.
const options = { path: 'board.ts', tsconfig: 'tsconfig.json', skipTypeCheck: true, additionalProperties: false };
const generator = createGenerator({ ...options, type: 'Board', expose: 'none', topRef: false });
const schema = generator.createSchema('Board');
const ajv = new Ajv({ allErrors: true, strict: false });
const whole = ajv.compile(schema);
const kinds = new Map(schema.properties.panels.items.anyOf.map((kind) => [kind.properties.type.const, ajv.compile(kind)]));

// What is wrong with a board; each panel is held against the type of its own kind, for clear words.
function wrong(board) {
  const said = (valid, value, where) =>
    valid(value) ? [] : valid.errors.map((error) => `${where}${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
  const panels = board.panels.flatMap((panel) =>
    kinds.has(panel.type) ? said(kinds.get(panel.type), panel, panel.title) : [`${panel.title}: there is no type ${panel.type}`],
  );
  return [...said(whole, { ...board, panels: [] }, ''), ...panels];
}

const files = readdirSync(boards).filter((name) => name.endsWith('.json'));
let complaints = files.length === 0 ? ['there are no boards'] : [];
for (const name of files) {
  const board = JSON.parse(readFileSync(`${boards}/${name}`, 'utf8'));
  complaints.push(...wrong(board).map((complaint) => `${name}: ${complaint}`));
  // The check must be one that can fail.
  for (const spoil of [
    (broken) => (broken.panels.find((panel) => panel.type === 'timeseries').options.legend.placement = 'nowhere'),
    (broken) => (broken.panels.find((panel) => panel.type === 'table').targets[0].expr = 7),
    (broken) => (broken.refresh = 10),
  ]) {
    const broken = structuredClone(board);
    spoil(broken);
    if (wrong(broken).length === 0) {
      complaints.push(`${name}: passes although it was spoilt by ${spoil}`);
    }
  }
}
complaints.forEach((complaint) => console.error(complaint));
console.error(`${files.length} boards held against @grafana/schema, ${complaints.length} complaints`);
process.exit(complaints.length === 0 ? 0 : 1);
