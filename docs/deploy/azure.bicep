// What LUCIUS needs of Azure: tables, and a namespace with 16 topics and a filtered subscription for each service.
// The same as `lucius azure apply` makes.

@description('The storage account; 3 to 24 lower-case letters and digits.')
param storageAccount string

@description('The Service Bus namespace.')
param namespace string

@description('What the names of the tables begin with: ledger.table_prefix.')
param tablePrefix string = 'lucius'

@description('The services that get directives.')
param services array = [
  'platform-ocr'
  'platform-embedding'
  'platform-sis'
]

@description('How long a message stays locked: bus.lock_ms.')
param lockDuration string = 'PT1M'

@description('After how many deliveries a message is dead: bus.max_delivery_count.')
param maxDeliveryCount int = 10

param location string = resourceGroup().location

var tables = [
  'jobs'
  'tenants'
  'due'
  'ended'
  'registry'
  'records'
  'attempts'
]
var lanes = range(0, 16)

resource account 'Microsoft.Storage/storageAccounts@2023-01-01' = {
  name: storageAccount
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_ZRS'
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
  }
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2023-01-01' = {
  parent: account
  name: 'default'
}

resource table 'Microsoft.Storage/storageAccounts/tableServices/tables@2023-01-01' = [for name in tables: {
  parent: tableService
  name: '${tablePrefix}${name}'
}]

resource bus 'Microsoft.ServiceBus/namespaces@2022-10-01-preview' = {
  name: namespace
  location: location
  sku: {
    name: 'Standard'
    tier: 'Standard'
  }
  properties: {
    minimumTlsVersion: '1.2'
  }
}

resource topic 'Microsoft.ServiceBus/namespaces/topics@2022-10-01-preview' = [for lane in lanes: {
  parent: bus
  name: 'global-bus-p${lane}'
  properties: {
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    enableBatchedOperations: true
  }
}]

resource subscription 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2022-10-01-preview' = [for index in range(0, 16 * length(services)): {
  parent: topic[index / length(services)]
  name: services[index % length(services)]
  properties: {
    lockDuration: lockDuration
    maxDeliveryCount: maxDeliveryCount
    requiresSession: false
    deadLetteringOnMessageExpiration: true
    enableBatchedOperations: true
  }
}]

// A rule named $Default replaces the one that lets everything through.
resource rule 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2022-10-01-preview' = [for index in range(0, 16 * length(services)): {
  parent: subscription[index]
  name: '$Default'
  properties: {
    filterType: 'SqlFilter'
    sqlFilter: {
      sqlExpression: 'service = \'${services[index % length(services)]}\''
    }
  }
}]

// What hosts publish with. Workers need a policy with the right Listen.
resource hosts 'Microsoft.ServiceBus/namespaces/authorizationRules@2022-10-01-preview' = {
  parent: bus
  name: 'hosts'
  properties: {
    rights: [
      'Send'
    ]
  }
}

resource workers 'Microsoft.ServiceBus/namespaces/authorizationRules@2022-10-01-preview' = {
  parent: bus
  name: 'workers'
  properties: {
    rights: [
      'Listen'
    ]
  }
}
