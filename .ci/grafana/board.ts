// A board as we write it, in Grafana's own types: stricter than its dashboard type, which lets panels hold anything.
import type { AnnotationQuery, Dashboard, FieldConfigSource, Panel, RowPanel } from '@grafana/schema';
import type * as heatmap from './node_modules/@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as table from './node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as timeseries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

/** What Grafana's Prometheus data source reads of a query; its own type is in no package on npm. */
interface Query {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  editorMode: 'code' | 'builder';
  expr: string;
  legendFormat: string;
  range: boolean;
  instant: boolean;
  format: 'time_series' | 'table' | 'heatmap';
}

type Drawn<Type extends string, Options, Custom> = Omit<
  Panel,
  'type' | 'options' | 'fieldConfig' | 'targets' | 'description' | 'gridPos' | 'id'
> &
  Required<Pick<Panel, 'description' | 'gridPos' | 'id'>> & {
    type: Type;
    options: Options;
    fieldConfig: FieldConfigSource<Custom>;
    targets: Query[];
  };

type Any =
  | RowPanel
  | Drawn<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Drawn<'stat', Partial<stat.Options>, object>
  | Drawn<'table', Partial<table.Options>, Partial<table.FieldConfig>>
  | Drawn<'heatmap', heatmap.Options, heatmap.FieldConfig>;

/** What the data source reads beside what every annotation has. */
type Annotation = AnnotationQuery & { expr: string; titleFormat: string; textFormat: string };

export type Board = Omit<Dashboard, 'panels' | 'annotations'> &
  Required<Pick<Dashboard, 'uid' | 'title' | 'version' | 'schemaVersion' | 'description'>> & {
    annotations: { list: Annotation[] };
    panels: Any[];
  };
